"""Faults of one row for those who read it: missing columns, nulls, wrong types, empty texts, equal pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec.data.checks.chat_checks import Part, chat_faults, is_sound
from ptspec.data.checks.fault import Fault
from ptspec.data.layouts import Shape, label_of, shape_for, wanted
from ptspec.methods.types import Rows

_CHATS = frozenset(("messages", "conversations"))
_ANSWERS = frozenset(("completion", "chosen", "rejected"))
_STRINGS = frozenset(("text", "instruction", "output", "input"))


@dataclass(frozen=True)
class Use:
    """A stage's method (or the evaluation) that reads a source. `rows` None: any row that offers a text."""

    who: str
    rows: Rows | None


RowChecker = Callable[[Mapping[str, Any]], Sequence[Fault]]


def row_checker(use: Use, present: frozenset[str]) -> RowChecker:
    """What tells the faults of each row of a source whose first row has the columns `present`."""
    if use.rows is None:
        return lambda values: ()
    shape = shape_for(use.rows, present)
    if shape is None:
        fault = _no_shape(use.who, use.rows, present)
        return lambda values: (fault,)
    return ShapeChecker(use, use.rows, shape)


class ShapeChecker:
    """Millions of rows pass here: of a sound one nothing is made."""

    def __init__(self, use: Use, rows: Rows, shape: Shape) -> None:
        self.needs = f"({use.who} needs {', '.join(shape.columns)})"
        self.parts = {column: _part(column, shape, rows) for column in shape.columns}
        self.texts = tuple(column for column in shape.columns if column not in (*_CHATS, "label"))
        self.others = tuple(column for column in shape.columns if column not in self.texts)
        self.chats = tuple(c for c in self.others if c in _CHATS and self.parts[c] is Part.CONVERSATION)
        self.is_pair = "rejected" in shape.columns
        self.optional = tuple(
            name for name in ("tools", "input") if name == "tools" or "instruction" in shape.columns
        )

    def __call__(self, values: Mapping[str, Any]) -> Sequence[Fault]:
        found: list[Fault] = []
        for column in self.texts:
            value = values.get(column)
            if type(value) is not str or not value or value.isspace():
                found += self._column(column, values)
        for column in self.others:
            if column not in self.chats or not is_sound(values.get(column)):
                found += self._column(column, values)
        if self.is_pair:
            found += _pair_faults(values, self.needs)
        for name in self.optional:
            if values.get(name):
                found += _optional_faults(name, values[name], self.needs)
        return found

    def _column(self, column: str, values: Mapping[str, Any]) -> Iterator[Fault]:
        return _column_faults(column, values.get(column), self.parts[column], self.needs, column in values)


def _optional_faults(name: str, value: Any, needs: str) -> Iterator[Fault]:
    if name == "tools" and not isinstance(value, list | str):
        yield Fault("wrong-type", f'"tools" must be a list of JSON schemas {needs}')
    if name == "input" and not isinstance(value, str):
        yield Fault("wrong-type", f'"input" must be a string {needs}')


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


def _pair_faults(values: Mapping[str, Any], needs: str) -> Sequence[Fault]:
    chosen, rejected = values.get("chosen"), values.get("rejected")
    if chosen is None or rejected is None:
        return ()
    if chosen == rejected:
        return (Fault("equal-pair", '"chosen" and "rejected" are the same text: the pair teaches nothing'),)
    if isinstance(chosen, list) is not isinstance(rejected, list):
        what = f'of "chosen" and "rejected" one is a string, the other a list {needs}'
        return (Fault("wrong-type", what),)
    return ()
