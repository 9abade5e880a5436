"""Convert chat turns of any common form to the messages that chat templates take.

ShareGPT turns (`from`, `value`) become messages (`role`, `content`), a `function_call` turn becomes an
assistant message with `tool_calls`, arguments of calls in JSON text become objects (as templates expect:
transformers' documentation of tool use), text parts of a content are joined. Unknown keys are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ptspec.diagnostics import Severity

Message = dict[str, Any]
Text = Any
"""A string, or a list of messages."""

ROLES: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}
"""Other names of a role -> its name in chat templates."""

HEADS = frozenset(("system", "developer"))
"""Roles of a turn before the conversation."""


class LayoutError(ValueError):
    """A row that cannot be read as its layout: `code` and message of the diagnostic, and a hint."""

    def __init__(
        self, code: str, message: str, hint: str | None = None, severity: Severity = Severity.ERROR
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.hint, self.severity = code, message, hint, severity


def is_turn(value: Any) -> bool:
    """Return whether `value` is one turn: a message or a ShareGPT turn."""
    return isinstance(value, Mapping) and ("role" in value or "from" in value)


def messages_of(column: str, value: Any) -> list[Message]:
    """Return the turns in `value` (a list of turns, or one) as messages. Raises `LayoutError` otherwise."""
    turns = [value] if is_turn(value) else value
    if isinstance(turns, str) or not isinstance(turns, Sequence):
        raise LayoutError("wrong-type", f'"{column}" must be a list of messages')
    return [message(column, turn) for turn in turns]


def message(column: str, turn: Any) -> Message:
    """Return one turn as a message. Raises `LayoutError`."""
    if not isinstance(turn, Mapping):
        raise LayoutError("wrong-type", f'a message of "{column}" is not an object with "role" and "content"')
    given = turn.get("role") if turn.get("role") is not None else turn.get("from")
    if not isinstance(given, str):
        raise LayoutError("wrong-type", f'a message of "{column}" has no "role" (or "from")')
    made: Message = {"role": ROLES.get(given, given), "content": turn.get("content", turn.get("value"))}
    made |= {key: value for key, value in turn.items() if key not in ("role", "from", "content", "value")}
    if given == "function_call":
        made |= {"content": "", "tool_calls": _calls(column, turn.get("value", turn.get("content")))}
    elif isinstance(turn.get("function_call"), Mapping):
        made["tool_calls"] = [_call(column, made.pop("function_call"))]
    elif made.get("tool_calls"):
        made["tool_calls"] = [_call(column, call) for call in _listed(column, made["tool_calls"])]
    if isinstance(made["content"], list):
        made["content"] = "".join(_part(column, part) for part in made["content"])
    return made


def _part(column: str, part: Any) -> str:
    """Return the text of one part of a content."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return str(part["text"])
    kind = part.get("type", "unknown") if isinstance(part, Mapping) else type(part).__name__
    message = f'a message of "{column}" holds a part of the type "{kind}": only text is supported'
    raise LayoutError("unsupported-media", message)


def _listed(column: str, calls: Any) -> list[Any]:
    found = _json(calls) if isinstance(calls, str) else calls
    if isinstance(found, Mapping):
        return [found]
    if not isinstance(found, list):
        raise LayoutError("wrong-type", f'"tool_calls" of a message of "{column}" must be a list of calls')
    return found


def _calls(column: str, value: Any) -> list[Message]:
    """Return the calls of a ShareGPT `function_call` turn: one as JSON text, or a list of them."""
    found = _json(value) if isinstance(value, str) else value
    if isinstance(found, Mapping):
        return [_call(column, found)]
    if isinstance(found, list) and found:
        return [_call(column, call) for call in found]
    message = f'a function_call of "{column}" is not the JSON of a call: {{"name": …, "arguments": {{…}}}}'
    raise LayoutError("wrong-type", message)


def _call(column: str, call: Any) -> Message:
    """Return a call as {"type": "function", "function": {"name", "arguments"}}, its arguments an object."""
    inner = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise LayoutError("wrong-type", f'a tool call of "{column}" has no "name"')
    around = {key: value for key, value in call.items() if key != "function"} if "function" in call else {}
    arguments = inner.get("arguments")
    if isinstance(arguments, str):
        parsed = _json(arguments)
        arguments = parsed if isinstance(parsed, Mapping) else arguments
    function = {**inner, **({"arguments": arguments} if "arguments" in inner else {})}
    return {"type": "function", **around, "function": function}


def _json(text: str) -> Any:
    """Return the value of a JSON text; None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _decoded(column: str, value: Any) -> Any:
    """Return a column's value, decoded if it is JSON text; None for blanks.

    Raises `LayoutError` for other text.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    found = _json(value)
    if found is None and value.strip() != "null":
        raise LayoutError("wrong-type", f'"{column}" is no JSON')
    return found


def tools_of(value: Any) -> list[Any] | None:
    """Return a row's tools as JSON schemas of functions; None if there are none.

    Given as a list, one object, or JSON text. A bare function ({"name", "parameters"}) becomes {"type":
    "function", "function": …}, the form that chat templates read. Raises `LayoutError`.
    """
    found = _decoded("tools", value)
    if not found:
        return None
    tools = [found] if isinstance(found, Mapping) else found
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise LayoutError("wrong-type", '"tools" must be a list of JSON schemas')
    return [_tool(tool) for tool in tools]


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    is_bare = "name" in tool and "function" not in tool and tool.get("type", "function") == "function"
    if not is_bare:
        return tool
    return {"type": "function", "function": {key: tool[key] for key in tool if key != "type"}}


def history_of(value: Any) -> list[Message]:
    """Return earlier turns as messages.

    Given as [[question, answer], …] as in LLaMA-Factory and ms-swift, as messages, or as JSON text. Raises
    `LayoutError`.
    """
    found = _decoded("history", value)
    if not found:
        return []
    if not isinstance(found, list):
        raise LayoutError("wrong-type", '"history" must be a list of pairs [question, answer]')
    turns: list[Message] = []
    for pair in found:
        if is_turn(pair):
            turns.append(message("history", pair))
        elif isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair):
            turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
        else:
            raise LayoutError("wrong-type", '"history" must be a list of pairs [question, answer]')
    return turns


def template_kwargs_of(value: Any) -> dict[str, Any]:
    """Return the row's `chat_template_kwargs`: an object, or JSON text. Raises `LayoutError`."""
    found = _decoded("chat_template_kwargs", value)
    if not found:
        return {}
    if not isinstance(found, Mapping):
        raise LayoutError("wrong-type", '"chat_template_kwargs" must be an object')
    return dict(found)


def without_padding(value: Any) -> Any:
    """Return `value` without keys that hold None, at any depth: Arrow gives every struct all keys."""
    if isinstance(value, Mapping):
        return {key: without_padding(item) for key, item in value.items() if item is not None}
    return [without_padding(item) for item in value] if isinstance(value, list) else value
