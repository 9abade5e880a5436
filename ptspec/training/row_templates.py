"""A row's own tools and template arguments, for trainers of TRL 1.16 that know those of the stage only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trl
from trl.data_utils import apply_chat_template, is_conversational

from ptspec.data.dataset import Encode, Refuses, Tokenised
from ptspec.data.layouts.convert import Context, context_of
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.encode import encode_all
from ptspec.data.tokens.look import render_row
from ptspec.data.tokens.transformers_tokenizer import TransformersTokenizer
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.training.leaving_rows import LeavingRows
from ptspec.training.scored_positions import ScoredPositions

if TYPE_CHECKING:
    from datasets import Dataset


IGNORED = -100
"""The label of a token that no loss is taken over."""


class RowTemplates:
    """Mixed into a trainer that generates: each prompt is rendered with its row's `tools` and
    `chat_template_kwargs`, which win over the stage's."""

    processing_class: Any
    chat_template_kwargs: Mapping[str, Any]
    _contexts: Sequence[Context] = ()

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._contexts = [context_of(row) for row in inputs]
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        return scored

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        return self._tokenize_with(prompts, self._contexts)

    def _tokenize_with(self, prompts: list[Any], contexts: Sequence[Context]) -> Any:
        """What TRL's `_tokenize_prompts` gives: ids, images, further fields; a context a prompt."""
        if not any(context.columns for context in contexts) or not is_conversational({"prompt": prompts[0]}):
            return super()._tokenize_prompts(prompts)  # type: ignore[misc]
        return [self._ids(*one) for one in zip(prompts, contexts, strict=True)], None, {}

    def _ids(self, prompt: list[Mapping[str, Any]], context: Context) -> list[int]:
        encoded = self.processing_class.apply_chat_template(
            prompt,
            tools=context.tools,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **{**self.chat_template_kwargs, **context.template_kwargs},
        )
        return list(encoded["input_ids"])


class GRPOTrainer(RowTemplates, LeavingRows, ScoredPositions, trl.GRPOTrainer):  # type: ignore[misc]  # the library is untyped
    """TRL's GRPO, with prompts that are rendered as their rows say, and rows that leave once they have
    ended."""

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, fields: Any, *more: Any, **named: Any
    ) -> Any:
        """Token ids of the completions, and their log-probabilities (None: not known)."""
        found = self._completions(prompt_ids, images, fields)
        if found is None:
            return super()._generate_single_turn(prompt_ids, images, fields, *more, **named)
        return found, None


def rendered(rows: Dataset, tokenizer: Any) -> Dataset:
    """Chats of `rows` as the text that TRL would make of them, for a trainer (ORPO's) that drops a row's
    tools and template arguments."""
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
    """Tokens and labels of rows under a stage's config. Raises `InputError` where one cannot be encoded."""

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
    """What tells why the tokenizer's chat template refuses a row in TRL's columns, as `pt validate` does."""

    def why(row: Mapping[str, Any]) -> str | None:
        try:
            render_row(row, TransformersTokenizer(tokenizer))
        except CannotRender as error:
            return str(error)
        return None

    return why
