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
    """A chat template that refuses these messages, or is no template."""


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer in `folder`; `template` is its chat template's text, or None."""

    folder: Path
    template: str | None
    special: Mapping[str, str]
    added: tuple[str, ...] = ()

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
            raise CannotRender(str(error)) from error

    @cached_property
    def _counter(self) -> Any:
        from tokenizers import Tokenizer

        made = Tokenizer.from_file(str(self.folder / FAST))
        made.add_special_tokens(list(self.added))
        return made

    def render(self, messages: Messages, *, prompt: bool = False, tools: Any = None) -> str:
        """The text of a chat; `prompt` adds the start of the assistant's turn. Raises `CannotRender`."""
        try:
            text = self._compiled.render(
                messages=list(messages),
                tools=tools,
                documents=None,
                add_generation_prompt=prompt,
                **self.special,
            )
        except CannotRender:
            raise
        except Exception as error:  # a template may fail in any way
            raise CannotRender(str(error)) from error
        return str(text)

    @property
    def size(self) -> int:
        """How many tokens it knows, the added ones with them."""
        return int(self._counter.get_vocab_size(with_added_tokens=True))

    def ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        """Token ids of each text; `special` adds what the tokenizer puts around plain text."""
        encoded = self._counter.encode_batch(list(texts), add_special_tokens=special)
        return [one.ids for one in encoded]


def read_tokenizer(
    folder: Path, template: str | None = None, added: tuple[str, ...] = ()
) -> TokenizerFiles | None:
    """The tokenizer files in `folder`, with the chat template `template` in place of its own and
    the special tokens `added`; None where there is no tokenizer."""
    if not any((folder / name).is_file() for name in (FAST, *OTHERS)):
        return None
    config = _json(folder / CONFIG)
    return TokenizerFiles(
        folder,
        _own_template(folder, config) if template is None else template,
        _special_tokens(config),
        added,
    )


def tokenizer_files(spec: ModelSpec) -> TokenizerFiles | None:
    """The tokenizer files of the recipe's model; None where there are none, or they were not looked at."""
    if spec.folder is None:
        return None
    return read_tokenizer(spec.folder, spec.chat_template, spec.additional_special_tokens)


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


def _special_tokens(config: Mapping[str, Any]) -> Mapping[str, str]:
    found = {}
    for name in _SPECIAL:
        value = config.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _json(file: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
