"""Generate one answer of one model, streamed piece by piece. Keeps no history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TextStreamer

from ptspec.chat.models import ChatModel
from ptspec.chat.served import ServedChatModel
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.evaluation.generation import generation_config

AnyChatModel = ChatModel | ServedChatModel
Message = Mapping[str, str]
Tell = Callable[[str], None]
NO_LIMIT = 2**31


@dataclass(frozen=True)
class Settings:
    """Generation settings.

    `temperature` 0 is greedy, as in the evaluation; above 0 the policy's own distribution is sampled, without
    top-k and top-p. `max_new_tokens` bounds an answer.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 42


@dataclass(frozen=True)
class Answer:
    """A generated answer; `tokens` includes the end token, if there is one.

    `finished`: the end token was generated. `stopped`: the user interrupted generation.
    """

    text: str
    tokens: int
    finished: bool
    stopped: bool = False


def generate_answer(
    chat_model: AnyChatModel, ids: Sequence[int], settings: Settings, seed: int, tell: Tell
) -> Answer:
    """Generate the answer of a model to the prompt `ids`.

    `tell` receives the text in pieces as they are generated; a server's answer comes in one piece. Ctrl-C
    ends the answer and keeps the text so far. Raises `InputError` if the prompt fills the model's context,
    `ServerError` if a server fails.
    """
    left = room(chat_model, ids)
    if left < 1:
        message = (
            f"{len(ids):,} tokens leave no room for an answer: {chat_model.name} takes {chat_model.context:,}"
        )
        raise InputError(Diagnostic("too-long", message))
    longest = min(left, settings.max_new_tokens)
    if isinstance(chat_model, ServedChatModel):
        return _by_server(chat_model, ids, longest, settings, seed, tell)
    said = _Streamer(chat_model.tokenizer, tell)
    stopped = False
    torch.manual_seed(seed)
    prompt = torch.tensor([ids], device=chat_model.model.device)
    config = generation_config(chat_model.tokenizer, chat_model.ends, longest, settings.temperature)
    try:
        with torch.no_grad():
            chat_model.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                generation_config=config,
                streamer=said,
            )
    except KeyboardInterrupt:
        stopped = True
    return _answer(chat_model, said.ids, stopped)


def _by_server(
    chat_model: ServedChatModel, ids: Sequence[int], longest: int, settings: Settings, seed: int, tell: Tell
) -> Answer:
    try:
        said = chat_model.continued(ids, longest, settings.temperature, seed)
    except KeyboardInterrupt:
        return Answer("", 0, finished=False, stopped=True)
    answer = _answer(chat_model, said, stopped=False)
    tell(answer.text)
    return answer


def _answer(chat_model: AnyChatModel, ids: Sequence[int], stopped: bool) -> Answer:
    finished = bool(ids) and ids[-1] in chat_model.ends
    text = chat_model.tokenizer.decode(ids[:-1] if finished else ids, skip_special_tokens=True)
    return Answer(text, len(ids), finished, stopped)


def room(chat_model: AnyChatModel, ids: Sequence[int]) -> int:
    """Return how many tokens of the model's context are left after `ids`."""
    return NO_LIMIT if chat_model.context is None else chat_model.context - len(ids)


def encode(chat_model: AnyChatModel, messages: Sequence[Message]) -> list[int]:
    """Return the prompt ids: the chat template's, or those of the last message's text without a template.

    Raises `InputError` if the template refuses the messages.
    """
    if not chat_model.has_template:
        plain: list[int] = chat_model.tokenizer(text=messages[-1]["content"])["input_ids"]
        return plain
    from jinja2 import TemplateError

    try:
        encoding = chat_model.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except (TemplateError, ValueError, TypeError) as error:
        message = f"the chat template of {chat_model.name} refuses this: {error}"
        raise InputError(Diagnostic("chat-template", message)) from error
    chat: list[int] = encoding["input_ids"]
    return chat


class _Streamer(TextStreamer):  # type: ignore[misc]  # the library is untyped
    """Collect the new ids and pass their text on word by word."""

    def __init__(self, tokenizer: Any, tell: Tell) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.ids: list[int] = []
        self._tell = tell

    def put(self, value: torch.Tensor) -> None:
        if not self.next_tokens_are_prompt:
            self.ids += value.flatten().tolist()
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._tell(text)
