"""Encode texts to token ids, as trainers hold them. Uses a tokenizer, no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptspec.data.layouts.convert import Context
from ptspec.data.layouts.turns import Text
from ptspec.data.tokens import encode
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.transformers_tokenizer import TransformersTokenizer
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.rewards.matching import content_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """Token ids of prompt and completion; the completion runs from `start` (at least 1) to the end."""

    ids: tuple[int, ...]
    start: int

    @property
    def completion_tokens(self) -> int:
        """Number of tokens of the completion."""
        return len(self.ids) - self.start

    def last(self, limit: int) -> Encoded:
        """Return its last `limit` tokens."""
        cut = max(0, len(self.ids) - limit)
        return Encoded(self.ids[cut:], max(1, self.start - cut))


def plain(text: Text | None) -> str:
    """Return `text` for display: a single message's content, else one "role: content" per line."""
    if text is None or isinstance(text, str):
        return text or ""
    if len(text) == 1:
        return content_of(text[0])
    return "\n".join(f"{message['role']}: {content_of(message)}" for message in text)


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Text, context: Context = Context()
) -> tuple[int, ...]:
    """Return the ids that a model continues.

    The chat template with its generation prompt, or the string itself. Raises `InputError` if the chat
    template refuses the prompt.
    """
    with _told():
        return encode.encode_prompt(prompt, context.columns, TransformersTokenizer(tokenizer))


def encode_completions(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Text | None,
    completions: tuple[Text, ...],
    context: Context = Context(),
) -> tuple[Encoded, ...]:
    """Return each completion after the prompt, with end of turn, as a trainer holds it.

    Several (chosen, rejected) all start where the first of them does. Raises `InputError` if the chat
    template refuses one.
    """
    with _told():
        made = encode.encode_completions(
            prompt or None, completions, context.columns, TransformersTokenizer(tokenizer)
        )
    return tuple(Encoded(one.ids, max(1, one.prompt)) for one in made)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CannotRender as error:
        message = f"the chat template cannot render a held-out row: {error}"
        hint = 'another "chat_template" in /model, or "chat": false in the source for plain strings'
        raise InputError(Diagnostic("chat-template", message, hint=hint)) from error
