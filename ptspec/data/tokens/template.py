"""A tokenizer's files without transformers: its chat template rendered, texts counted in tokens.

The environment is that of transformers 5.23 (`utils/chat_template_utils.py`); a contract test compares what
both render. Imports jinja2 and tokenizers, and both only when something is rendered or counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ptspec.recipe.plan import ModelSpec

CONFIG = "tokenizer_config.json"
FAST = "tokenizer.json"
OTHERS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt", "tekken.json")
"""Files that a tokenizer may have in place of tokenizer.json."""

_MARKERS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

Messages = Sequence[Mapping[str, Any]]


class CannotRender(ValueError):
    """A chat template that refuses these messages, in its own words (`own`) or by failing on them."""

    def __init__(self, message: str, *, own: bool) -> None:
        super().__init__(message)
        self.own = own


class NoTemplate(CannotRender):
    """A text that is no template; `line` is where, counted from 1."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message, own=False)
        self.line = line


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer in `folder`; `template` is its chat template's text, or None."""

    folder: Path
    template: str | None
    special: Mapping[str, str]
    added: tuple[str, ...] = ()

    @property
    def is_template(self) -> bool:
        """Whether there is a chat template, and it compiles."""
        try:
            self.check_template()
        except NoTemplate:
            return False
        return self.template is not None

    @property
    def has_generation_markers(self) -> bool:
        """Whether the template says which tokens are the assistant's ({% generation %})."""
        return self.template is not None and _MARKERS.search(self.template) is not None

    @cached_property
    def _compiled(self) -> Any:
        from ptspec.data.tokens.jinja import compiled

        try:
            return compiled(self.template or "")
        except Exception as error:  # jinja's parser raises what it likes
            raise NoTemplate(str(error), getattr(error, "lineno", None)) from error

    def check_template(self) -> None:
        """Raises `NoTemplate` where the text of the template is none."""
        _ = self._compiled

    @cached_property
    def _counter(self) -> Any:
        from tokenizers import Tokenizer

        made = Tokenizer.from_file(str(self.folder / FAST))
        made.add_special_tokens(list(self.added))
        return made

    def render(
        self,
        messages: Messages,
        *,
        prompt: bool = False,
        tools: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The text of a chat; `prompt` adds the start of the assistant's turn, `kwargs` are what a row gives
        the template (`chat_template_kwargs`). Raises `CannotRender`."""
        given = {**self.special, "tools": tools, "documents": None, **(kwargs or {})}
        try:
            text = self._compiled.render(**given, messages=list(messages), add_generation_prompt=prompt)
        except CannotRender:
            raise
        except Exception as error:  # a template may fail in any way
            raise _cannot_render(error) from error
        return str(text)

    @cached_property
    def tokens(self) -> frozenset[str]:
        """The added tokens, which no text is split across: end of turn, roles, padding."""
        known = self._counter.get_added_tokens_decoder().values()
        return frozenset((*(token.content for token in known), *self.special.values()))

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Every token with its id, the added ones among them."""
        found: Mapping[str, int] = self._counter.get_vocab(with_added_tokens=True)
        return found

    def token_id(self, token: str) -> int | None:
        """The id of `token`, or None where it is no single token."""
        found: int | None = self._counter.token_to_id(token)
        return found

    def token(self, token_id: int) -> str | None:
        """The token with this id, or None."""
        found: str | None = self._counter.id_to_token(token_id)
        return found

    @property
    def can_count(self) -> bool:
        """Whether texts can be turned into tokens without transformers: there is a tokenizer.json."""
        return (self.folder / FAST).is_file()

    @property
    def highest_id(self) -> int:
        """The highest id of a token."""
        return max((self.size - 1, *map(int, self._counter.get_added_tokens_decoder())))

    @property
    def size(self) -> int:
        """How many tokens it knows, the added ones with them."""
        return int(self._counter.get_vocab_size(with_added_tokens=True))

    def ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text; `special` adds what the tokenizer puts around plain text."""
        encoded = self._counter.encode_batch(list(texts), add_special_tokens=special)
        return [one.ids for one in encoded]


def read_tokenizer(
    folder: Path,
    template: str | None = None,
    added: tuple[str, ...] = (),
    special: Mapping[str, str] | None = None,
) -> TokenizerFiles | None:
    """The tokenizer files in `folder`, with the chat template `template` in place of its own, the special
    tokens `added`, and those of `special` (`eos_token`, …) in place of its own; None where there is no
    tokenizer."""
    if not any((folder / name).is_file() for name in (FAST, *OTHERS)):
        return None
    config = read_object(folder / CONFIG)
    return TokenizerFiles(
        folder,
        _own_template(folder, config) if template is None else template,
        {**_special_tokens(folder, config), **(special or {})},
        added,
    )


def tokenizer_files(spec: ModelSpec) -> TokenizerFiles | None:
    """The tokenizer files of the recipe's model, a local one."""
    own = {"eos_token": spec.eos_token, "pad_token": spec.pad_token}
    special = {name: token for name, token in own.items() if token is not None}
    return read_tokenizer(Path(spec.path), spec.chat_template, spec.additional_special_tokens, special)


def _cannot_render(error: Exception) -> CannotRender:
    """What a template said, or, where it failed on a value that it does not know, at which line of it."""
    if type(error).__name__ == "TemplateError":  # raise_exception
        return CannotRender(str(error), own=True)
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"line {line} of the template" if line else "the template"
    return CannotRender(f"{where} fails on a value that it is not made for", own=False)


def _own_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError):
            return None
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> Mapping[str, str]:
    """The special tokens by name; older repositories have them in a file of their own, which then counts."""
    if "added_tokens_decoder" not in config:
        config = {**config, **read_object(folder / "special_tokens_map.json")}
    found = {}
    for name in _SPECIAL:
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def read_object(file: Path) -> Mapping[str, Any]:
    """The object in a JSON file; an empty one where the file is missing or damaged."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
