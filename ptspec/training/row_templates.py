"""Render rows with their own tools and template arguments, for trainers of TRL 1.16 that drop those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trl.data_utils import apply_chat_template, is_conversational

from ptspec.data.dataset import Encode, Refuses, Tokenised
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.encode import encode_all
from ptspec.data.tokens.look import render_row
from ptspec.data.tokens.transformers_tokenizer import TransformersTokenizer
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.effective_config import EffectiveConfig

if TYPE_CHECKING:
    from datasets import Dataset


IGNORED = -100
"""Label of a token without loss."""


def rendered(rows: Dataset, tokenizer: Any) -> Dataset:
    """Return the chats of `rows` as text rendered as TRL would, for a trainer (ORPO's) that drops tools."""
    from ptspec.data.exact_json import Table

    if not is_conversational(rows[0]):
        return rows
    table = Table()
    for row in rows:
        template_kwargs = row.get("chat_template_kwargs") or {}
        given = {**row, "chat_template_kwargs": template_kwargs}
        table.add(apply_chat_template(given, tokenizer, tools=row.get("tools")))
    return table.dataset(table.kinds)


def encoder(config: EffectiveConfig, tokenizer: Any) -> Encode:
    """Return an encoder of rows to tokens and labels.

    It raises `InputError` for a row that it cannot encode.
    """

    def encoded(rows: Sequence[Mapping[str, Any]]) -> Iterator[Tokenised]:
        for row, found in zip(rows, encode_all(rows, config, TransformersTokenizer(tokenizer)), strict=True):
            if isinstance(found, Exception):
                beginning = str(dict(row))[:60]
                message = f"a row cannot be put through the chat template: {found} ({beginning}…)"
                raise InputError(Diagnostic("cannot-render", message, pointer=config.stage.at))
            (whole,) = found.whole
            labels = [
                token if learned else IGNORED for token, learned in zip(whole.ids, whole.learned, strict=True)
            ]
            yield Tokenised(whole.ids, labels)

    return encoded


def refusal(tokenizer: Any) -> Refuses:
    """Return a function that says why the chat template refuses a row in TRL's columns, as `pt validate`."""

    def why(row: Mapping[str, Any]) -> str | None:
        try:
            render_row(row, TransformersTokenizer(tokenizer))
        except CannotRender as error:
            return str(error)
        return None

    return why
