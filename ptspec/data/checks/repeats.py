"""Find duplicate rows in a source, and rows whose prompt is in the held-out data.

A row is stored as a 64-bit hash: among two million different rows a collision occurs once in ten million
files.
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
"""Rows stored (about 100 MB); later rows are compared with these only."""


class Repeats:
    """Finds rows of a source that equal an earlier one for every use of it."""

    def __init__(self, uses: Sequence[Use], present: frozenset[str]) -> None:
        self.columns = _columns(uses, present)
        self._seen: set[int] = set()
        self.is_full = False
        what = f"the same {', '.join(self.columns)}" if self.columns else "the same in every column"
        message = f"this row stands further up in the data too ({what})"
        self.fault = Fault("repeated-row", message, Severity.WARNING)

    def key(self, values: Mapping[str, Any]) -> int:
        """Return a row's hash; if all columns count, their order in the file counts too."""
        names = [*self.columns, *(name for name in BESIDE if values.get(name))] if self.columns else values
        return hash(tuple([v if type(v := values.get(name)) is str else _hashable(v) for name in names]))

    def again(self, key: int) -> bool:
        """Return whether the row was seen before; store it otherwise."""
        if key in self._seen:
            return True
        if len(self._seen) < BOUND:
            self._seen.add(key)
        else:
            self.is_full = True
        return False

    def which(self, keys: Sequence[int]) -> list[int]:
        """Return the indices of `keys`, in file order, of rows seen before."""
        new = set(keys)
        if len(new) == len(keys) and len(self._seen) + len(new) <= BOUND and self._seen.isdisjoint(new):
            self._seen |= new
            return []
        return [place for place, key in enumerate(keys) if self.again(key)]


def _columns(uses: Sequence[Use], present: frozenset[str]) -> tuple[str, ...]:
    """Return the columns that the uses read; () for all of them: rewards and evaluations get every column."""
    names: list[str] = []
    for use in uses:
        layout = None if use.rows in (None, Rows.PROMPT_ONLY) else layout_for(use.rows, present)
        if layout is None:
            return ()
        names += layout.columns
    return tuple(dict.fromkeys(names))


def _hashable(value: Any) -> Any:
    """Return bytes that are equal for equal values."""
    if not isinstance(value, list | dict):
        return value
    try:
        return marshal.dumps(value, 2)  # a format without back references: the same bytes for equal values
    except ValueError:  # such as a date from a Parquet file
        return repr(value)


def prompt_key(values: Mapping[str, Any]) -> int | None:
    """Return the hash of a row's prompt in any layout, or None without a prompt."""
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
