"""Errors of a chat's messages, once its layout has been read: unknown roles, empty texts, nothing to learn.

In which order turns may come is for the chat template to say: a row that it takes is trained on.
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
    """What a list of messages is in its row."""

    CONVERSATION = "conversation"
    """All of it, with the answer that is learned at the end."""
    PROMPT = "prompt"
    """What is answered; of a whole conversation in a prompt-only row, that before its last answer."""
    ANSWER = "answer"


def chat_faults(column: str, messages: Sequence[Message], part: Part, needs: str) -> Iterator[Fault]:
    """The errors of one list of messages; where a message is wrong, of the first such alone."""
    if not messages:
        yield Fault("empty-text", f'"{column}" has no messages {needs}')
        return
    if fault := next(filter(None, (_message_fault(column, one, needs) for one in messages)), None):
        yield fault
        return
    yield from (Fault("role-order", f'"{column}": {what} {needs}') for what in _wrong_ends(messages, part))


def is_sound(messages: Any) -> bool:
    """Whether it is what nearly every conversation is: texts of user and assistant in turn, a system's before
    them perhaps. One that is not may be sound all the same."""
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
        what = f'a message of "{column}" has a role that is none of {known} {needs}'
        return Fault("role-order", what, example=f"role: {role[:40]!r}")
    if content is None and not calls:
        return Fault("wrong-type", f'a message of "{column}" has no "content" (or "value") {needs}')
    if not (content is None or isinstance(content, str)):
        return Fault("wrong-type", f'the "content" of a message of "{column}" must be a string {needs}')
    if not calls and role not in HEADS and not (content or "").strip():
        return Fault("empty-text", f'a message of "{column}" is empty {needs}')
    return None


def _wrong_ends(messages: Sequence[Message], part: Part) -> Iterator[str]:
    """What is wrong with the beginning and the end, in words."""
    roles = [message["role"] for message in messages]
    turns = [role for role in roles if role not in HEADS]
    if not turns:
        yield "there is no turn but the system's"
        return
    if part is Part.ANSWER and turns[0] != "assistant":
        yield f"it begins with a turn of the {turns[0]}, not of the assistant"
    if part is not Part.PROMPT and turns[-1] != "assistant":
        yield f"it ends with a turn of the {turns[-1]}; the last one must be the assistant's: it is learned"
