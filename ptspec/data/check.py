"""Faults in the data, found before anything starts: streaming, in constant memory, without torch.

Every fault of a file is counted, the first few are shown. Sources on a hub are checked when the run starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptspec.data.fault import SHOWN_LINES, Fault, Tally
from ptspec.data.formats import label_of, shape_for
from ptspec.data.repeats import BOUND, Repeats, prompt_key
from ptspec.data.row_faults import Judge, Use, judge
from ptspec.data.sources import PlacedRow, Unreadable, scan, shown, unreadable
from ptspec.diagnostics import Diagnostic, InputError, Location, Severity
from ptspec.methods.types import Rows
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.plan import Mix, Plan, Source

Items = list[PlacedRow | Unreadable]

KEPT = 500
"""Rows of a source that are kept for who looks at them again: checking their lengths, say."""


@dataclass
class Seen:
    """What was seen of a source: how many rows, how many of each of KTO's labels (None: nobody reads them),
    the first rows themselves."""

    rows: int = 0
    labels: dict[bool, int] | None = None
    first: Items = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """The faults of the data, and what was seen of each local source by its name."""

    diagnostics: list[Diagnostic]
    sources: Mapping[str, Seen]

    @property
    def first_rows(self) -> Mapping[str, Items]:
        return {name: seen.first for name, seen in self.sources.items()}


def check_plan(plan: Plan) -> Checked:
    """Every fault of every local source that `plan` uses, each source read once."""
    held_out = _parts(plan, plan.evaluation.data) if plan.evaluation else ()
    uses = _uses(plan)
    seen: dict[str, Seen] = {}
    found: dict[str, list[Diagnostic]] = {}
    prompts: set[int] = set()
    # The held-out rows go first: the others are compared with them.
    for name in sorted(uses, key=lambda name: name not in held_out):
        source = plan.data[name]
        if not isinstance(source, Source) or not source.paths:
            continue
        check = _Pass(source, uses[name], prompts, is_held_out=name in held_out)
        try:
            found[name], seen[name] = list(check.faults()), check.seen
        except InputError as error:  # a package is missing that the file needs
            found[name] = list(error.diagnostics)
    in_order = [diagnostic for name in uses for diagnostic in found.get(name, ())]
    return Checked([*in_order, *_label_faults(plan, seen)], seen)


def _parts(plan: Plan, name: str) -> tuple[str, ...]:
    """The sources that `name` stands for: itself, or those that it mixes."""
    source = plan.data[name]
    return tuple(source.weights) if isinstance(source, Mix) else (name,)


def _uses(plan: Plan) -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {}
    asked = [(stage.data, Use(stage.method.name, stage.method.rows)) for stage in plan.stages]
    if plan.evaluation is not None:
        asked.append((plan.evaluation.data, Use("eval", None)))
    for name, use in asked:
        for part in _parts(plan, name):
            if use not in uses.setdefault(part, []):
                uses[part].append(use)
    return uses


class _Pass:
    """One pass over a source. Of the held-out one it adds the prompts to `prompts`; others it compares."""

    def __init__(self, source: Source, uses: list[Use], prompts: set[int], *, is_held_out: bool) -> None:
        self.source, self.uses, self.prompts, self.is_held_out = source, uses, prompts, is_held_out
        self.seen = Seen()
        self.tallies: dict[Path, Tally] = {path: Tally() for path in source.paths}
        self.judges: list[Judge] = []
        self.unrenamed: list[Diagnostic] = []
        self.repeats = Repeats((), frozenset())

    def faults(self) -> Iterator[Diagnostic]:
        malformed = 0
        for item in scan(self.source):
            if len(self.seen.first) < KEPT:
                self.seen.first.append(item)
            if isinstance(item, PlacedRow):
                self._row(item)
                continue
            malformed += 1
            if malformed <= SHOWN_LINES:
                yield unreadable(item, self.source.at)
        if malformed > SHOWN_LINES:
            yield _and_more(self.source, malformed)
        yield from self.unrenamed
        for path, tally in self.tallies.items():
            yield from map(self._with_bound, tally.diagnostics(path, self.source.at))
        if not malformed and not self.seen.rows:
            yield _no_rows(self.source)

    def _with_bound(self, fault: Diagnostic) -> Diagnostic:
        if fault.code != "repeated-row" or not self.repeats.is_full:
            return fault
        note = (
            f"the first {BOUND:,} different rows were remembered; later ones were compared with these alone"
        )
        return replace(fault, notes=(*fault.notes, note))

    def _row(self, row: PlacedRow) -> None:
        if not self.seen.rows:
            self._begin(frozenset(row.values))
        self.seen.rows += 1
        tally, values = self.tallies[row.file], row.values
        tally.rows += 1
        for faults_of in self.judges:
            for fault in faults_of(values):
                tally.add(fault, row.line)
        if (repeated := self.repeats.fault(values)) is not None:
            tally.add(repeated, row.line)
        if self.prompts or self.is_held_out:
            self._compare(values, tally, row.line)
        if self.seen.labels is not None and (label := label_of(values.get("label"))) is not None:
            self.seen.labels[label] += 1

    def _begin(self, columns: frozenset[str]) -> None:
        """The columns of the first row are those of the source."""
        self.unrenamed = list(_unrenamed(self.source, columns))
        self.judges = [judge(use, columns) for use in self.uses if use.rows is not None]
        self.repeats = Repeats(self.uses, columns)
        wanted = Rows.UNPAIRED_PREFERENCE
        shapes = [shape_for(wanted, columns) for use in self.uses if use.rows is wanted]
        if any(shape is not None and "label" in shape.columns for shape in shapes):
            self.seen.labels = {True: 0, False: 0}

    def _compare(self, values: Mapping[str, Any], tally: Tally, line: int) -> None:
        key = prompt_key(values)
        if key is None:
            return
        if not self.is_held_out and key in self.prompts:
            tally.add(_HELD_OUT, line)
        elif self.is_held_out and len(self.prompts) < BOUND:
            self.prompts.add(key)


_HELD_OUT = Fault(
    "held-out-row",
    "this prompt stands in the held-out data too: what is measured there was trained on",
    Severity.WARNING,
)


def _unrenamed(source: Source, present: frozenset[str]) -> Iterator[Diagnostic]:
    """Columns to rename that the first row has not."""
    there = sorted(source.columns.get(name, name) for name in present)
    for new, old in source.columns.items():
        if new not in present:
            message = f'"columns" takes "{new}" from "{old}", and the data has no column "{old}"'
            hint = did_you_mean(old, there) or f"columns there: {listed(there)}"
            yield Diagnostic("missing-column", message, None, f"{source.at}/columns/{new}", hint)


def _and_more(source: Source, malformed: int) -> Diagnostic:
    message = f"{malformed:,} lines in all cannot be read, the first {SHOWN_LINES} are above"
    return Diagnostic("malformed-row", message, Location(shown(source.paths[0])), source.at)


def _no_rows(source: Source) -> Diagnostic:
    files = ", ".join(shown(path) for path in source.paths)
    return Diagnostic("no-rows", f'data "{source.name}" has no rows', Location(files), source.at)


def _label_faults(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Stages whose rows are all good, or all bad, over every source that they mix."""
    for stage in plan.stages:
        if stage.method.rows is not Rows.UNPAIRED_PREFERENCE:
            continue
        parts = _parts(plan, stage.data)
        labels = [seen[name].labels or {} for name in parts if name in seen]
        good, bad = (sum(found.get(label, 0) for found in labels) for label in (True, False))
        # Where a source is of pairs or on a hub, or a label is none, not every label is known.
        rows = sum(seen[name].rows if name in seen else 1 for name in parts)
        if rows == good + bad and bool(good) is not bool(bad):
            source = plan.data[parts[0]]
            file = shown(source.paths[0]) if isinstance(source, Source) else ""
            message = f'stage "{stage.name}": every "label" is {str(good > 0).lower()} ({good + bad:,} rows)'
            hint = f"{stage.method.name} learns from answers marked true and from answers marked false"
            yield Diagnostic("labels-alike", message, Location(file), source.at, hint)
