"""Chat templates by name: ChatML, and those that TRL ships. Reads TRL's files without importing it."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

TRAINING = "_training"
"""Suffix of TRL's template versions that mark the assistant's tokens."""

_CODE = re.compile(r"\{\{|\{%")

CHATML = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}
        {{- (message['content'] or '') + '<|im_end|>' -}}
        {%- endgeneration -%}
    {%- else -%}
        {{- (message['content'] or '') + '<|im_end|>' -}}
    {%- endif -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def template_names() -> list[str]:
    """Return the names of templates that a recipe may use."""
    return ["chatml", *sorted(name for name in shipped() if not name.endswith(TRAINING))]


def named_template(name: str) -> str | None:
    """Return the text of the template called `name`, None if unknown."""
    if name == "chatml":
        return CHATML
    file = None if name.endswith(TRAINING) else shipped().get(name)
    return None if file is None else file.read_text("utf-8")


def is_inline(text: str) -> bool:
    """Return whether `text` is a template itself, not a name."""
    return _CODE.search(text) is not None


@cache
def shipped() -> dict[str, Path]:
    """Return the templates that TRL ships, by name; {} if TRL is not installed."""
    spec = find_spec("trl")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = (file for folder in folders for file in (Path(folder) / "chat_templates").glob("*.jinja"))
    return {file.stem: file for file in found}
