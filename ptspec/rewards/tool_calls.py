"""Tool calls: those expected of an answer, and those in a model's output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ptspec.data.layouts.turns import Text
from ptspec.data.tokens.template import REASONING
from ptspec.rewards.json_text import json_of, objects_in, same_json

Call = tuple[str, Any]
"""The tool's name and its arguments."""

ARGUMENTS = ("arguments", "parameters")
NOT_TEXT = ("tool_calls", *REASONING)
"""Message fields that the chat template renders besides its content."""


def calls_of(expected: Text | None) -> tuple[Call, ...]:
    """Return the tool calls of an expected answer, in order."""
    messages = [] if expected is None or isinstance(expected, str) else expected
    return tuple(call for message in messages for call in _calls(message.get("tool_calls") or ()))


def is_text_alone(expected: Text | None) -> bool:
    """Return whether an expected answer is only text: no call, no thoughts."""
    if expected is None or isinstance(expected, str):
        return True
    return not any(message.get(key) for message in expected for key in NOT_TEXT)


def says_calls(text: str) -> tuple[Call, ...]:
    """Return the tool calls in a model's output, from JSON {"name": …, "arguments": …}.

    As in the templates of Qwen, Llama 3, Hermes and Mistral.
    """
    return tuple(call for value in objects_in(text) for call in _calls(value))


def same_calls(text: str, expected: tuple[Call, ...]) -> bool:
    """Return whether `text` makes the `expected` calls and no others, in the same order."""
    made = says_calls(text)
    try:
        pairs = zip(made, expected, strict=True)
        return all(one[0] == other[0] and same_json(one[1], other[1]) for one, other in pairs)
    except (ValueError, RecursionError):
        return False


def _calls(value: Any) -> Iterator[Call]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _calls(one)
    elif isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        yield from _calls(value["function"])
    elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
        given = next((value[key] for key in ARGUMENTS if key in value), None)
        if given is not None:
            yield value["name"], _arguments(given)


def _arguments(given: Any) -> Any:
    """Return a call's arguments; JSON strings are parsed, and nulls dropped, which tables add."""
    if isinstance(given, str):
        parsed = json_of(given)
        given = given if parsed is None else parsed[0]
    if isinstance(given, Mapping):
        return {key: value for key, value in given.items() if value is not None}
    return json.loads(json.dumps(given, default=str))
