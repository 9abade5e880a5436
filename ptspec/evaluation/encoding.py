"""Texts to token ids, exactly as TRL's trainers make them. Knows a tokenizer, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptspec.data.layouts.convert import Context
from ptspec.data.layouts.turns import Text
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
        return len(self.ids) - self.start

    def last(self, limit: int) -> Encoded:
        """The same without its first tokens, if it is longer than `limit` tokens."""
        cut = max(0, len(self.ids) - limit)
        return Encoded(self.ids[cut:], max(1, self.start - cut))


def plain(text: Text | None) -> str:
    """`text` for a person: a lone message's content, else one "role: content" a line."""
    if text is None or isinstance(text, str):
        return text or ""
    if len(text) == 1:
        return content_of(text[0])
    return "\n".join(f"{message['role']}: {content_of(message)}" for message in text)


def completion_text(text: Text) -> str:
    """What a model has to say for `text`: the contents, without role names."""
    return text if isinstance(text, str) else "".join(content_of(message) for message in text)


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Text, context: Context = Context()
) -> tuple[int, ...]:
    """The ids a model continues: the chat template with its generation prompt, or the string as it is."""
    if isinstance(prompt, str):
        return tuple(tokenizer(text=prompt)["input_ids"])
    return _chat(tokenizer, prompt, context, add_generation_prompt=True) if prompt else ()


def encode_completions(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Text | None,
    completions: tuple[Text, ...],
    context: Context = Context(),
) -> tuple[Encoded, ...]:
    """Each completion after the prompt, end of turn included.

    As in TRL, a completion starts where the ids of the prompt alone and those of the whole diverge; of
    several (chosen, rejected) all start where the first of them does.
    """
    begin = encode_prompt(tokenizer, prompt, context) if prompt else ()
    whole = [_whole(tokenizer, prompt, completion, context) for completion in completions]
    start = max(1, min(_shared(begin, ids) for ids in whole))
    return tuple(Encoded(ids, start) for ids in whole)


def _whole(
    tokenizer: PreTrainedTokenizerBase, prompt: Text | None, completion: Text, context: Context = Context()
) -> tuple[int, ...]:
    if not isinstance(completion, str):
        return _chat(tokenizer, [*(prompt or []), *completion], context)
    end = tokenizer.eos_token or ""
    text = (prompt or "") + completion
    return tuple(tokenizer(text=text if text.endswith(end) else text + end)["input_ids"])


def _chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Mapping[str, Any]],
    context: Context,
    add_generation_prompt: bool = False,
) -> tuple[int, ...]:
    from jinja2 import TemplateError

    try:
        encoding = tokenizer.apply_chat_template(
            messages,
            tools=context.tools,
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=True,
            **context.template_kwargs,
        )
    except (TemplateError, ValueError) as error:
        raise InputError(
            Diagnostic(
                "chat-template",
                f"the chat template cannot render a held-out row: {error}",
                hint='a model.chat_template file, or "chat": false in the source for plain strings',
            )
        ) from error
    return tuple(encoding["input_ids"])


def _shared(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many leading ids two sequences share."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
