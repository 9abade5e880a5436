"""Find by trying how to change a row so that a chat template accepts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.look import ANSWERS, render_row
from ptspec.data.tokens.template import TokenizerFiles

Message = Mapping[str, Any]


def remedy(row: Mapping[str, Any], tokenizer: TokenizerFiles) -> str | None:
    """Return how to change a row in TRL's columns that the template refuses; None if nothing known helps."""
    for change, words in _CHANGES:
        try:
            render_row(_changed(row, change), tokenizer)
        except (CannotRender, TypeError, ValueError, AttributeError):
            continue
        return words
    return None


def _changed(row: Mapping[str, Any], change: Callable[[Message], Message]) -> Mapping[str, Any]:
    chats = {name: row[name] for name in ("messages", "prompt", *ANSWERS) if isinstance(row.get(name), list)}
    return {**row, **{name: [change(message) for message in chat] for name, chat in chats.items()}}


def _arguments_as_text(message: Message) -> Message:
    calls = message.get("tool_calls") or ()
    return {**message, "tool_calls": [_call_as_text(call) for call in calls]} if calls else message


def _call_as_text(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    changed = {**function, "arguments": text}
    return {**call, "function": changed} if "function" in call else changed


def _no_null(message: Message) -> Message:
    return {**message, "content": message.get("content") or ""}


def _parts(message: Message) -> Message:
    content = message.get("content")
    return (
        {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message
    )


def _string(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": "".join(str(part.get("text", "")) for part in content)}


_CHANGES: tuple[tuple[Callable[[Message], Message], str], ...] = (
    (_no_null, 'this template takes no null "content": write ""'),
    (
        _arguments_as_text,
        'this template takes the "arguments" of a call as JSON text: "{\\"city\\": \\"Oslo\\"}"',
    ),
    (_string, 'this template takes "content" as a string, not as a list of parts'),
    (_parts, 'this template takes "content" as a list of parts: [{"type": "text", "text": "…"}]'),
)
