"""Check a chat's messages after its layout was read: unknown roles, empty texts, nothing to learn.

The chat template decides which order of turns is valid: a row that it accepts is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from ptspec.data.checks.fault import Fault
from ptspec.data.layouts.turns import HEADS, Message

TOOLS = frozenset(("tool", "function", "ipython"))
ROLES = HEADS | TOOLS | {"user", "assistant"}


class Part(Enum):
    """The role of a list of messages in its row."""

    CONVERSATION = "conversation"
    """A whole conversation, with the learned answer at its end."""
    PROMPT = "prompt"
    """A prompt; of a whole conversation in a prompt-only row, everything before its last answer."""
    ANSWER = "answer"


def chat_faults(column: str, messages: Sequence[Message], part: Part, needs: str) -> Iterator[Fault]:
    """Yield the errors of a list of messages; if a message is wrong, only the first such."""
    if not messages:
        yield Fault("empty-text", f'"{column}" has no messages {needs}')
        return
    if fault := next(filter(None, (_message_fault(column, one, needs) for one in messages)), None):
        yield fault
        return
    yield from (Fault("role-order", f'"{column}": {what} {needs}') for what in _wrong_ends(messages, part))


def is_sound(messages: Any) -> bool:
    """Return whether messages alternate between user and assistant texts, after an optional system one.

    Nearly every conversation does; one that does not may be valid all the same.
    """
    if type(messages) is not list:
        return False
    wanted, other = "user", "assistant"
    for index, message in enumerate(messages):
        if type(message) is not dict:
            return False
        role, text = message.get("role"), message.get("content")
        if type(text) is not str or not text or text.isspace():
            return False
        if role == wanted:
            wanted, other = other, wanted
        elif index or role != "system":
            return False
        if "tool_calls" in message or "function_call" in message:
            return False
    return wanted == "user" and len(messages) > 1


def _message_fault(column: str, message: Message, needs: str) -> Fault | None:
    role, content, calls = message["role"], message["content"], message.get("tool_calls")
    if role not in ROLES:
        known = "system, user, assistant, tool"
        what = f'a message of "{column}" has a role that is not one of {known} {needs}'
        return Fault("role-order", what, example=f"role: {role[:40]!r}")
    if content is None and not calls:
        return Fault("wrong-type", f'a message of "{column}" has no "content" (or "value") {needs}')
    if not (content is None or isinstance(content, str)):
        return Fault("wrong-type", f'the "content" of a message of "{column}" must be a string {needs}')
    if not calls and role not in HEADS and not (content or "").strip():
        return Fault("empty-text", f'a message of "{column}" is empty {needs}')
    return None


def _wrong_ends(messages: Sequence[Message], part: Part) -> Iterator[str]:
    """Return what is wrong with the first and the last message, in words."""
    roles = [message["role"] for message in messages]
    turns = [role for role in roles if role not in HEADS]
    if not turns:
        yield "the only turn is the system's"
        return
    if part is Part.ANSWER and turns[0] != "assistant":
        yield f"it begins with a turn of the {turns[0]}, not of the assistant"
    if part is not Part.PROMPT and turns[-1] != "assistant":
        yield f"it ends with a turn of the {turns[-1]}; the last one must be the assistant's: it is learned"
