"""The tokenizer interface that encoding needs: chats and plain text to ids. Types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Messages = Sequence[Mapping[str, Any]]


class CannotRender(ValueError):
    """A chat that the chat template refuses, or an invalid template.

    `own`: the template itself raised it (`raise_exception`).
    """

    def __init__(self, message: str, *, own: bool = False) -> None:
        super().__init__(message)
        self.own = own


class NoTemplate(CannotRender):
    """An invalid template; `line` counts from 1."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


class TrainerRefuses(CannotRender):
    """A row that the template accepts and the trainer refuses."""


@dataclass(frozen=True)
class Chat:
    """Messages for the chat template.

    `prompt` adds the start of the assistant's turn; `continued` leaves the last message open. `variables` are
    the row's `chat_template_kwargs`. `template` replaces the tokenizer's own. `masked` requests the mask of
    {% generation %} blocks.
    """

    messages: Messages
    prompt: bool = False
    continued: bool = False
    tools: Any = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    masked: bool = False


class Plain(NamedTuple):
    """Text without a template; `special`: with the tokenizer's special tokens for plain text."""

    text: str
    special: bool = True


class Tokens(NamedTuple):
    """Token ids; `assistant`: which of them are in {% generation %} blocks, if requested."""

    ids: Sequence[int]
    assistant: Sequence[bool] | None = None


class ChatTokenizer(Protocol):
    """A tokenizer with a chat template: from files (`TokenizerFiles`) or from transformers."""

    @property
    def template(self) -> str | None:
        """The chat template's text; the default one of several."""

    @property
    def eos_token(self) -> str | None:
        """The end-of-sequence token, if any."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The id of the end-of-sequence token, if any."""
        ...

    @property
    def bos_id(self) -> int | None:
        """The id of the beginning-of-sequence token, if any."""
        ...

    def rendered(self, chat: Chat) -> str:
        """Return the text of a chat. Raises `CannotRender`."""

    def tokenise(self, parts: Sequence[Chat | Plain]) -> list[Tokens | CannotRender]:
        """Return the tokens of each part, or its error."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, including special tokens."""
