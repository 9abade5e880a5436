"""What encoding asks of a tokenizer: chats and plain text to ids. Types only, imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Messages = Sequence[Mapping[str, Any]]


class CannotRender(ValueError):
    """A chat that cannot be put through the chat template, or a template that is none; `own`: the template
    says so itself (`raise_exception`)."""

    def __init__(self, message: str, *, own: bool = False) -> None:
        super().__init__(message)
        self.own = own


class NoTemplate(CannotRender):
    """A text that is no template; `line` is where, counted from 1."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


class TrainerRefuses(CannotRender):
    """A row that the template takes and the trainer does not."""


@dataclass(frozen=True)
class Chat:
    """Messages to put through the chat template.

    `prompt` adds the start of the assistant's turn; `continued` leaves the last message open, to be gone on
    with. `variables` are the row's `chat_template_kwargs`. `template` replaces the tokenizer's own. `masked`
    asks for the mask of the template's {% generation %} blocks.
    """

    messages: Messages
    prompt: bool = False
    continued: bool = False
    tools: Any = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    masked: bool = False


class Plain(NamedTuple):
    """Text without a template; `special`: with what the tokenizer puts around plain text."""

    text: str
    special: bool = True


class Tokens(NamedTuple):
    """Token ids; `assistant`: which of them stand in {% generation %} blocks, where that was asked for."""

    ids: Sequence[int]
    assistant: Sequence[bool] | None = None


class ChatTokenizer(Protocol):
    """A tokenizer with a chat template: from files (`TokenizerFiles`) or from transformers."""

    @property
    def template(self) -> str | None:
        """The chat template's text; the default one of several."""

    @property
    def eos_token(self) -> str | None: ...

    @property
    def eos_id(self) -> int | None: ...

    @property
    def bos_id(self) -> int | None: ...

    def rendered(self, chat: Chat) -> str:
        """The text of a chat. Raises `CannotRender`."""

    def tokenise(self, parts: Sequence[Chat | Plain]) -> list[Tokens | CannotRender]:
        """The tokens of each part, or why it has none."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens with it."""
