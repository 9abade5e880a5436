"""Check one row for its uses: missing columns, nulls, wrong types, empty texts, equal pairs.

A row is converted by the code used for training; what that refuses is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ptspec.data.checks.chat_checks import Part, chat_faults, is_sound
from ptspec.data.checks.fault import Fault
from ptspec.data.column_names import rename_hint
from ptspec.data.layouts.convert import Reading, label_of, to_trl
from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.data.layouts.pairs import is_whole_dialogue
from ptspec.data.layouts.table import CHATS, CONTEXT, LAYOUTS, MEDIA, Layout, layout_for, wanted
from ptspec.data.layouts.turns import LayoutError
from ptspec.methods import all_of_them
from ptspec.methods.types import Rows

_ANSWERS = ("completion", "chosen", "rejected")
_STRINGS = frozenset(("text", "instruction", "output"))
_PARTS = {"messages": Part.CONVERSATION, "prompt": Part.PROMPT} | dict.fromkeys(_ANSWERS, Part.ANSWER)


class Use(NamedTuple):
    """A use of a source: a stage's method or the evaluation. `rows` None: any row with a text."""

    who: str
    rows: Rows | None


RowChecker = Callable[[Mapping[str, Any]], Sequence[Fault]]


def row_checker(use: Use, present: frozenset[str], reading: Reading = Reading()) -> RowChecker:
    """Return the checker for a source whose first row has the columns `present`."""
    if use.rows is None:
        return EvaluationChecker(use.who, reading)
    layout = layout_for(use.rows, present)
    if layout is None:
        fault = _no_layout(use.who, use.rows, present)
        return lambda values: (fault,)
    return LayoutChecker(use, use.rows, layout, reading)


class LayoutChecker:
    """Checks rows of one layout; millions of rows pass here, so usual ones are accepted without conversion.

    `texts` and `chats` are the layout's columns of strings and of conversations; a row with one of the
    columns `special`, or one that fails `is_plain_beside`, is checked closely.
    """

    def __init__(self, use: Use, rows: Rows, layout: Layout, reading: Reading) -> None:
        self.rows, self.layout, self.reading = rows, layout, reading
        self.needs = f"({use.who} needs {', '.join(layout.columns)})"
        self.chats = tuple(column for column in layout.columns if column in CHATS)
        self.texts = tuple(column for column in layout.columns if column not in (*CHATS, "label"))
        self.holds_prompt = layout.prompt is not None or layout.columns == ("text",)
        self.takes_input = layout.prompt == "instruction"
        self.learns_labelled = rows is Rows.PROMPT_COMPLETION and layout.prompt in (*CHATS, "prompt")
        self.special = frozenset((*CONTEXT, *MEDIA)).difference(layout.columns)

    def __call__(self, values: Mapping[str, Any]) -> Sequence[Fault]:
        """Return the errors of a row."""
        return () if self.is_usual(values) else list(self._faults(values))

    def is_usual(self, values: Mapping[str, Any]) -> bool:
        """Return whether the row is valid and of the plainest form, which nearly every template accepts."""
        if not self.special.isdisjoint(values):
            return False
        if not self.holds_prompt or not self.is_plain_beside(values):
            return False
        for column in self.texts:
            text = values.get(column)
            if type(text) is not str or not text or text.isspace():
                return False
        if not all(is_sound(values.get(column)) for column in self.chats):
            return False
        if self.layout.has_label and label_of(values.get("label")) is None:
            return False
        return not self.layout.is_pair or values["chosen"] != values["rejected"]

    def is_plain_beside(self, values: Mapping[str, Any]) -> bool:
        """Return whether relevant columns outside the layout have usual values."""
        if self.takes_input and type(values.get("input", "")) is not str:
            return False
        if self.layout.is_pair and is_whole_dialogue(values.get("chosen")):
            return False
        return not self.learns_labelled or values.get("label", True) is True

    def _faults(self, values: Mapping[str, Any]) -> Iterator[Fault]:
        found = [fault for column in self.layout.columns for fault in self._column(column, values)]
        yield from found
        yield from _media_faults(values)
        if found:
            return
        try:
            made = list(to_trl(values, self.rows, self.layout, self.reading))
        except LayoutError as error:
            yield Fault(error.code, f"{error.message} {self.needs}", error.severity, error.hint)
            return
        yield from dict.fromkeys(fault for row in made for fault in self._made(row))
        yield from self._label(values, made)

    def _column(self, column: str, values: Mapping[str, Any]) -> Iterator[Fault]:
        value = values.get(column)
        if value is None:
            yield self._absent(column, values)
        elif column == "label":
            if label_of(value) is None:
                yield Fault("wrong-type", f'"label" must be true or false {self.needs}')
        elif fault := _wrong_type(column, value, self.needs):
            yield fault
        elif isinstance(value, str) and not value.strip() and column != "completion":
            yield Fault("empty-text", f'"{column}" is empty {self.needs}')

    def _absent(self, column: str, values: Mapping[str, Any]) -> Fault:
        if column in values:
            return Fault("null-value", f'"{column}" is null {self.needs}')
        present = frozenset(name for name, value in values.items() if value is not None)
        other = layout_for(self.rows, present)
        hint = None
        if other is not None:
            hint = f'this row has {other.words}: two layouts are two sources, joined by "concat" or "mix"'
        return Fault("missing-column", f'no "{column}" {self.needs}', hint=hint)

    def _made(self, row: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield the errors of a row in TRL's columns."""
        for column, part in _PARTS.items():
            if isinstance(row.get(column), list):
                shown = self.chats[0] if self.chats and column in ("messages", "prompt") else column
                what = Part.PROMPT if self.rows is Rows.PROMPT_ONLY else part
                yield from chat_faults(shown, row[column], what, self.needs)
        if "rejected" in row and row["chosen"] == row["rejected"]:
            yield Fault("equal-pair", '"chosen" and "rejected" are the same text: the pair teaches nothing')

    def _label(self, values: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
        """Yield an error for a bad-answer label under a method that learns every answer as good."""
        if self.learns_labelled and "text" not in made[0] and label_of(values.get("label")) is False:
            message = f'"label" is false: the answer would be learned as a good one {self.needs}'
            names = [one.name for one in all_of_them() if one.rows is Rows.UNPAIRED_PREFERENCE]
            hint = f"{names[0]} learns from answers marked false"
            yield Fault("bad-answer", message, hint=hint)


class EvaluationChecker:
    """Checks held-out rows by the columns each one has."""

    def __init__(self, who: str, reading: Reading) -> None:
        self.who, self.reading = who, reading

    def __call__(self, values: Mapping[str, Any]) -> Sequence[Fault]:
        """Return the errors of a row."""
        return list(self._faults(values))

    def is_usual(self, values: Mapping[str, Any]) -> bool:
        """Return False: every held-out row is checked closely."""
        return False

    def _faults(self, values: Mapping[str, Any]) -> Iterator[Fault]:
        needs = f"({self.who})"
        yield from _media_faults(values)
        wrong = list(_wrong_types(values, needs))
        yield from wrong
        if wrong:
            return
        try:
            row = evaluation_row(values, self.reading)
        except LayoutError as error:
            yield Fault(error.code, f"{error.message} {needs}", error.severity, error.hint)
            return
        if row.prompt is None and row.expected is None:
            names = ", ".join(sorted(values)) or "none"
            message = f"{self.who} needs a prompt or a text; this row has the columns {names}"
            yield Fault("missing-column", message, hint=_renaming(frozenset(values), Rows.PROMPT_ONLY))
        if isinstance(row.prompt, list):
            shown = next((name for name in CHATS if values.get(name)), "prompt")
            yield from chat_faults(shown, row.prompt, Part.PROMPT, needs)
        if isinstance(row.expected, list):
            yield from chat_faults("completion", row.expected, Part.ANSWER, needs)
        if row.pair is not None and row.pair.chosen == row.pair.rejected:
            yield Fault("equal-pair", '"chosen" and "rejected" are the same text: the pair teaches nothing')


def _wrong_types(values: Mapping[str, Any], needs: str) -> Iterator[Fault]:
    """Yield text columns that hold neither text nor messages; null counts as absent."""
    names = dict.fromkeys(name for layouts in LAYOUTS.values() for one in layouts for name in one.columns)
    for name in names:
        value = values.get(name)
        if value is not None and name != "label" and (fault := _wrong_type(name, value, needs)):
            yield fault


def _wrong_type(column: str, value: Any, needs: str) -> Fault | None:
    """Return the error for a text column that holds neither text nor messages."""
    if column in _STRINGS:
        is_right, kinds = isinstance(value, str), "a string"
    elif column in CHATS:
        is_right, kinds = isinstance(value, list | dict), "a list of messages"
    else:
        is_right, kinds = isinstance(value, str | list | dict), "a string or a list of messages"
    return None if is_right else Fault("wrong-type", f'"{column}" must be {kinds} {needs}')


def _media_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    for name in MEDIA:
        if values.get(name):
            message = f'"{name}" cannot be used: only text is supported'
            yield Fault("unsupported-media", message)


def _no_layout(who: str, rows: Rows, present: frozenset[str]) -> Fault:
    names = ", ".join(sorted(present)[:20]) + (", …" if len(present) > 20 else "") or "none"
    message = f"{who} needs the columns {wanted(rows)}; this file has {names}"
    return Fault("missing-column", message, hint=_renaming(present, rows))


def _renaming(present: frozenset[str], rows: Rows) -> str:
    """Return a rename that would fit, or the form of an existing column."""
    return rename_hint(present, rows) or 'rename with "columns": {"prompt": "its name here"}'
