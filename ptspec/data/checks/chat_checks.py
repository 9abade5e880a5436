"""Faults of a chat: what a message must hold, and in which order the turns of a conversation come.

TRL 1.16 takes the roles system, user, assistant and tool, and hands them to the tokenizer's chat template;
many templates fail where turns do not alternate, and the others learn from what no one meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any

from ptspec.data.checks.fault import Fault
from ptspec.data.layouts import SHAREGPT_ROLES

HEADS = frozenset(("system", "developer"))
TOOLS = frozenset(("tool", "function", "ipython"))
ROLES = HEADS | TOOLS | {"user", "assistant"}
_NAMES = tuple(ROLES)


class Part(Enum):
    """What a list of messages is in its row."""

    CONVERSATION = "conversation"
    """All of it, with the answer that is learned at the end."""
    PROMPT = "prompt"
    """What is answered; of a whole conversation in a prompt-only row, that before its last answer."""
    ANSWER = "answer"


def chat_faults(column: str, messages: Sequence[Any], part: Part, needs: str) -> Iterator[Fault]:
    """The faults of one list of messages; where a message is none, its first alone."""
    if not messages:
        yield Fault("empty-text", f'"{column}" has no messages {needs}')
        return
    roles = []
    for message in messages:
        if _is_plain(message):
            roles.append(message["role"])
            continue
        if fault := _message_fault(column, message, needs):
            yield fault
            return
        roles.append(role_of(message))
    yield from (Fault("role-order", f'"{column}": {what} {needs}') for what in _order(roles, part))


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
    return wanted == "user" and len(messages) > 1


def _is_plain(message: Any) -> bool:
    """Whether it is what nearly every message is: a known role and a text."""
    if type(message) is not dict:
        return False
    text = message.get("content")
    return type(text) is str and text != "" and not text.isspace() and message.get("role") in _NAMES


def role_of(message: dict[str, Any]) -> str:
    """The role of a message, or of a ShareGPT turn (`from`)."""
    role = message.get("role")
    if role is not None:
        return str(role)
    given = str(message.get("from"))
    return SHAREGPT_ROLES.get(given, given)


def _message_fault(column: str, message: Any, needs: str) -> Fault | None:
    if not isinstance(message, dict):
        return Fault("wrong-type", f'a message of "{column}" is no object with "role" and "content" {needs}')
    key = "role" if message.get("role") is not None else "from"
    if not isinstance(message.get(key), str):
        return Fault("wrong-type", f'a message of "{column}" has no "role" (or "from") {needs}')
    if role_of(message) not in ROLES:
        known = "system, user, assistant, tool"
        what = f'a message of "{column}" has a role that is none of {known} {needs}'
        return Fault("role-order", what, example=f"{key}: {str(message[key])[:40]!r}")
    text = "content" if key == "role" else "value"
    content, calls = message.get(text), bool(message.get("tool_calls"))
    if content is None and not calls:
        return Fault("wrong-type", f'a message of "{column}" has no "{text}" {needs}')
    if not (content is None or isinstance(content, str | list)):
        return Fault("wrong-type", f'the "{text}" of a message of "{column}" must be a string {needs}')
    if not calls and not (content.strip() if isinstance(content, str) else content):
        return Fault("empty-text", f'a message of "{column}" is empty {needs}')
    return None


def _order(roles: Sequence[str], part: Part) -> Iterator[str]:
    """What is out of order, in words."""
    turns = [role for index, role in enumerate(roles) if not (index == 0 and role in HEADS)]
    if any(role in HEADS for role in turns):
        yield "a system message stands further down; it comes first or not at all"
        turns = [role for role in turns if role not in HEADS]
    first = "assistant" if part is Part.ANSWER else "user"
    if not turns:
        yield "there is no turn but the system's"
        return
    if turns[0] != first:
        yield f"it begins with a turn of the {turns[0]}, not of the {first}"
    for before, role in dict.fromkeys(pairwise(turns)):
        if not _may_follow(before, role):
            pair = f"a turn of the {before}, then one of the {role}"
            what = f"two turns of the {role} in a row" if role == before else pair
            yield f"{what}; user and assistant take turns"
    if part is not Part.PROMPT and turns[-1] != "assistant":
        yield f"it ends with a turn of the {turns[-1]}; the last one must be the assistant's: it is learned"


def _may_follow(before: str, role: str) -> bool:
    if role == "user":
        return before == "assistant"
    if role == "assistant":
        return before == "user" or before in TOOLS
    return before == "assistant" or before in TOOLS
