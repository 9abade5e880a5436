"""The jinja environment of chat templates, as in transformers. Imported only for rendering."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Rendered(NamedTuple):
    """A chat as text. `spans`: (begin, end) of its {% generation %} blocks, in characters."""

    text: str
    spans: tuple[tuple[int, int], ...]


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text without changing it; its span is recorded.

    A span counts from the output so far, as in transformers' AssistantTracker; inside a macro, whose text is
    output at its end, both are wrong.
    """

    tags = {"generation"}  # noqa: RUF012 (jinja's own way)

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.written = 0
        self.spans: list[tuple[int, int]] = []

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_place"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _place(self, context: Any, caller: Any) -> str:
        text = str(caller())
        self.spans.append((self.written, self.written + len(text)))
        return text


@lru_cache(maxsize=16)
def compiled(template: str) -> jinja2.Template:
    """Return the compiled template. Raises `jinja2.TemplateError` if it is invalid."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment.from_string(template)


def render(template: jinja2.Template, variables: Mapping[str, Any], *, masked: bool) -> Rendered:
    """Render the template; `masked`: with the spans of {% generation %} blocks.

    Raises any exception of the template.
    """
    if not masked:
        return Rendered(template.render(**variables), ())
    marks: Any = template.environment.extensions[_Generation.identifier]
    marks.written, marks.spans = 0, []
    blocks = []
    for block in template.generate(**variables):
        blocks.append(block)
        marks.written += len(block)
    return Rendered("".join(blocks), tuple(marks.spans))


def _to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, **rest: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **rest)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
