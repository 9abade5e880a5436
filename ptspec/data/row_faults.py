"""Faults of one row for those who read it: missing columns, nulls, wrong types, empty texts, equal pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.data.fault import Fault
from ptspec.data.formats import Shape, label_of, shape_for, wanted
from ptspec.data.turns import Part, chat_faults
from ptspec.methods.types import Rows

_CHATS = frozenset(("messages", "conversations"))
_ANSWERS = frozenset(("completion", "chosen", "rejected"))
_STRINGS = frozenset(("text", "instruction", "output", "input"))


@dataclass(frozen=True)
class Use:
    """A stage's method (or the evaluation) that reads a source. `rows` None: any row that offers a text."""

    who: str
    rows: Rows | None


Judge = Callable[[Mapping[str, Any]], Iterator[Fault]]


def judge(use: Use, present: frozenset[str]) -> Judge:
    """What tells the faults of each row of a source whose first row has the columns `present`."""
    shape = None if use.rows is None else shape_for(use.rows, present)
    if use.rows is None:
        return lambda values: iter(())
    if shape is None:
        fault = _no_shape(use.who, use.rows, present)
        return lambda values: iter((fault,))
    needs = f"({use.who} needs {', '.join(shape.columns)})"
    parts = {column: _part(column, shape, use.rows) for column in shape.columns}
    return lambda values: _row_faults(values, shape, parts, needs)


def _no_shape(who: str, rows: Rows, present: frozenset[str]) -> Fault:
    names = ", ".join(sorted(present)) or "none"
    message = f"{who} needs the columns {wanted(rows)}; this file has {names}"
    return Fault("missing-column", message, hint='rename with "columns": {"prompt": "its name here"}')


def _part(column: str, shape: Shape, rows: Rows) -> Part:
    if column in _CHATS:
        return Part.PROMPT if rows is Rows.PROMPT_ONLY else Part.CONVERSATION
    if column in _ANSWERS:
        return Part.ANSWER if "prompt" in shape.columns else Part.CONVERSATION
    return Part.PROMPT


def _row_faults(
    values: Mapping[str, Any], shape: Shape, parts: Mapping[str, Part], needs: str
) -> Iterator[Fault]:
    for column, part in parts.items():
        value = values.get(column)
        if (
            type(value) is str
            and value
            and not value.isspace()
            and column not in _CHATS
            and column != "label"
        ):
            continue
        yield from _column_faults(column, value, part, needs, column in values)
    if "rejected" in parts:
        yield from _pair_faults(values, needs)
    if values.get("tools") and not isinstance(values["tools"], list | str):
        yield Fault("wrong-type", f'"tools" must be a list of JSON schemas {needs}')
    if "instruction" in parts and not isinstance(values.get("input"), str | None):
        yield Fault("wrong-type", f'"input" must be a string {needs}')


def _column_faults(column: str, value: Any, part: Part, needs: str, is_there: bool) -> Iterator[Fault]:
    if value is None:
        if is_there:
            yield Fault("null-value", f'"{column}" is null {needs}')
        else:
            yield Fault("missing-column", f'no "{column}" {needs}')
    elif column == "label":
        if label_of(value) is None:
            yield Fault("wrong-type", f'"label" must be true or false {needs}')
    elif isinstance(value, list) and column not in _STRINGS:
        yield from chat_faults(column, value, part, needs)
    elif column in _CHATS:
        yield Fault("wrong-type", f'"{column}" must be a list of messages {needs}')
    elif not isinstance(value, str):
        kinds = "a string" if column in _STRINGS else "a string or a list of messages"
        yield Fault("wrong-type", f'"{column}" must be {kinds} {needs}')
    elif not value.strip() and column != "completion":
        yield Fault("empty-text", f'"{column}" is empty {needs}')


def _pair_faults(values: Mapping[str, Any], needs: str) -> Iterator[Fault]:
    chosen, rejected = values.get("chosen"), values.get("rejected")
    if chosen is None or rejected is None:
        return
    if chosen == rejected:
        yield Fault("equal-pair", '"chosen" and "rejected" are the same text: the pair teaches nothing')
    elif isinstance(chosen, list) is not isinstance(rejected, list):
        yield Fault("wrong-type", f'of "chosen" and "rejected" one is a string, the other a list {needs}')
