"""Rows that stand twice in a source, and rows whose prompt stands in the held-out data.

A row is remembered as a 64-bit hash: of two million different rows some two are taken for the same once in
ten million files.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from typing import Any

from ptspec.data.checks.fault import Fault
from ptspec.data.checks.row_checks import Use
from ptspec.data.layouts.convert import instruction_prompt, split_messages
from ptspec.data.layouts.pairs import is_dialogue, split_conversations, turns_of_dialogue
from ptspec.data.layouts.table import BESIDE, CHATS, layout_for
from ptspec.data.layouts.turns import HEADS, LayoutError, Message, messages_of
from ptspec.diagnostics import Severity
from ptspec.methods.types import Rows

BOUND = 1_000_000
"""Rows that are remembered (some 100 MB); later rows are compared with these, not with each other."""


class Repeats:
    """Which rows of a source are the same as an earlier one, to all who use it."""

    def __init__(self, uses: Sequence[Use], present: frozenset[str]) -> None:
        self.columns = _columns(uses, present)
        self._seen: set[int] = set()
        self.is_full = False
        what = f"the same {', '.join(self.columns)}" if self.columns else "the same in every column"
        message = f"this row stands further up in the data too ({what})"
        self.fault = Fault("repeated-row", message, Severity.WARNING)

    def key(self, values: Mapping[str, Any]) -> int:
        """A number that stands for the row: of a row as a whole the order of its columns counts, too, which
        is the file's own."""
        names = [*self.columns, *(name for name in BESIDE if values.get(name))] if self.columns else values
        return hash(tuple([v if type(v := values.get(name)) is str else _hashable(v) for name in names]))

    def again(self, key: int) -> bool:
        """Whether the row stood further up; if not, it is remembered."""
        if key in self._seen:
            return True
        if len(self._seen) < BOUND:
            self._seen.add(key)
        else:
            self.is_full = True
        return False

    def which(self, keys: Sequence[int]) -> list[int]:
        """The places in `keys`, those of rows in file order, of rows that stood further up."""
        new = set(keys)
        if len(new) == len(keys) and len(self._seen) + len(new) <= BOUND and self._seen.isdisjoint(new):
            self._seen |= new
            return []
        return [place for place, key in enumerate(keys) if self.again(key)]


def _columns(uses: Sequence[Use], present: frozenset[str]) -> tuple[str, ...]:
    """What the uses read of a row; () for all of it: rewards and the evaluation get every column."""
    names: list[str] = []
    for use in uses:
        layout = None if use.rows in (None, Rows.PROMPT_ONLY) else layout_for(use.rows, present)
        if layout is None:
            return ()
        names += layout.columns
    return tuple(dict.fromkeys(names))


def _hashable(value: Any) -> Any:
    """Something equal for equal values."""
    if not isinstance(value, list | dict):
        return value
    try:
        return marshal.dumps(value, 2)  # a format without back references: the same bytes for equal values
    except ValueError:  # a date, say, out of a Parquet file
        return repr(value)


def prompt_key(values: Mapping[str, Any]) -> int | None:
    """A number that stands for a row's prompt in any layout, or None where the row has none."""
    prompt = values.get("prompt")
    if isinstance(prompt, str):
        return hash(prompt)
    try:
        if values.get("instruction"):
            return hash(instruction_prompt(values))
        turns = _prompt_turns(values)
    except LayoutError:
        return None
    asked = [turn for turn in turns if turn["role"] not in HEADS]
    if len(asked) == 1:
        return hash(asked[0]["content"])
    return hash(tuple((turn["role"], str(turn["content"])) for turn in asked)) if asked else None


def _prompt_turns(values: Mapping[str, Any]) -> list[Message]:
    chosen, rejected = values.get("chosen"), values.get("rejected")
    if values.get("prompt"):
        return messages_of("prompt", values["prompt"])
    if column := next((name for name in CHATS if values.get(name)), None):
        return split_messages(messages_of(column, values[column]))[0]
    if (
        isinstance(chosen, str)
        and isinstance(rejected, str)
        and is_dialogue(chosen)
        and is_dialogue(rejected)
    ):
        return split_conversations(turns_of_dialogue(chosen), turns_of_dialogue(rejected))[0]
    if isinstance(chosen, list) and isinstance(rejected, list):
        pair = messages_of("chosen", chosen), messages_of("rejected", rejected)
        return split_conversations(*pair)[0]
    return []
