"""Faults in the data, found before anything starts: streaming, in constant memory, without torch.

Every fault of a file is counted, the first few are shown. Sources on a hub are checked when the run starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptspec.data.formats import Shape, shape_for, wanted
from ptspec.data.sources import PlacedRow, Unreadable, scan, shown, unreadable
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.methods.types import Rows
from ptspec.recipe.plan import Mix, Plan, Source

SHOWN_LINES = 3


@dataclass(frozen=True)
class Use:
    """A stage (or the evaluation) that reads a source. `rows` None: any row that offers a text will do."""

    who: str
    rows: Rows | None


@dataclass(frozen=True)
class Fault:
    """One kind of fault; equal faults of different rows are counted together."""

    code: str
    message: str
    severity: Severity = Severity.ERROR


@dataclass
class Tally:
    """How often each fault was met in a file, and where first."""

    rows: int = 0
    places: dict[Fault, list[int]] = field(default_factory=dict)
    counts: dict[Fault, int] = field(default_factory=dict)

    def add(self, fault: Fault, line: int) -> None:
        lines = self.places.setdefault(fault, [])
        self.counts[fault] = self.counts.get(fault, 0) + 1
        if len(lines) < SHOWN_LINES:
            lines.append(line)

    def diagnostics(self, file: Path, pointer: str) -> Iterator[Diagnostic]:
        for fault, lines in self.places.items():
            yield Diagnostic(
                code=fault.code,
                message=fault.message,
                location=Location(shown(file), lines[0]),
                pointer=pointer,
                notes=self._notes(self.counts[fault], lines),
                severity=fault.severity,
            )

    def _notes(self, count: int, lines: list[int]) -> tuple[str, ...]:
        if count == 1:
            return ()
        more = ", …" if count > len(lines) else ""
        listed = ", ".join(str(line) for line in lines)
        return (f"{count:,} rows of {self.rows:,} have this fault: lines {listed}{more}",)


def check_plan(plan: Plan) -> list[Diagnostic]:
    """Every fault of every local source that `plan` uses, each source read once."""
    held_out = _prompts(plan)
    found: list[Diagnostic] = []
    for name, uses in _uses(plan).items():
        source = plan.data[name]
        if isinstance(source, Source) and source.paths:
            is_held_out = plan.evaluation is not None and name == plan.evaluation.data
            found += _check_source(source, uses, frozenset() if is_held_out else held_out)
    return found


def _uses(plan: Plan) -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {}
    asked = [(stage.data, Use(stage.method.name, stage.method.rows)) for stage in plan.stages]
    if plan.evaluation is not None:
        asked.append((plan.evaluation.data, Use("eval", None)))
    for name, use in asked:
        source = plan.data[name]
        for part in source.weights if isinstance(source, Mix) else (name,):
            if use not in uses.setdefault(part, []):
                uses[part].append(use)
    return uses


def _check_source(source: Source, uses: list[Use], held_out: frozenset[bytes]) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    tallies: dict[Path, Tally] = {path: Tally() for path in source.paths}
    shapes: dict[Use, Shape | None] | None = None
    malformed = 0
    for item in scan(source):
        if isinstance(item, Unreadable):
            malformed += 1
            if malformed <= SHOWN_LINES:
                found.append(unreadable(item, source.at))
            continue
        tally = tallies[item.file]
        tally.rows += 1
        if shapes is None:
            shapes = {use: _shape(use, item) for use in uses}
        for fault in _row_faults(item, shapes, held_out):
            tally.add(fault, item.line)
    if malformed > SHOWN_LINES:
        found.append(_and_more(source, malformed))
    for path, tally in tallies.items():
        found += tally.diagnostics(path, source.at)
    if not malformed and not any(tally.rows for tally in tallies.values()):
        found.append(_no_rows(source))
    return found


def _and_more(source: Source, malformed: int) -> Diagnostic:
    message = f"{malformed:,} lines in all cannot be read, the first {SHOWN_LINES} are above"
    return Diagnostic("malformed-row", message, Location(shown(source.paths[0])), source.at)


def _no_rows(source: Source) -> Diagnostic:
    files = ", ".join(shown(path) for path in source.paths)
    return Diagnostic("no-rows", f'data "{source.name}" has no rows', Location(files), source.at)


def _shape(use: Use, row: PlacedRow) -> Shape | None:
    return None if use.rows is None else shape_for(use.rows, frozenset(row.values))


def _row_faults(
    row: PlacedRow, shapes: Mapping[Use, Shape | None], held_out: frozenset[bytes]
) -> Iterator[Fault]:
    for use, shape in shapes.items():
        if use.rows is None:
            continue
        if shape is None:
            yield _no_shape(use, row.values)
        else:
            yield from _column_faults(use, shape, row.values)
    if held_out and prompt_key(row.values) in held_out:
        yield Fault("held-out-row", "this prompt stands in the held-out data too", Severity.WARNING)


def _no_shape(use: Use, values: Mapping[str, Any]) -> Fault:
    assert use.rows is not None
    names = ", ".join(sorted(values)) or "none"
    return Fault(
        "missing-column",
        f'{use.who} needs the columns {wanted(use.rows)}; this file has {names} (rename with "columns")',
    )


def _column_faults(use: Use, shape: Shape, values: Mapping[str, Any]) -> Iterator[Fault]:
    needs = f"({use.who} needs {', '.join(shape.columns)})"
    for column in shape.columns:
        if column not in values:
            yield Fault("missing-column", f'no "{column}" {needs}')
        elif values[column] is None:
            yield Fault("null-value", f'"{column}" is null {needs}')
        elif column == "label":
            if not isinstance(values[column], bool | int):
                yield Fault("wrong-type", f'"label" must be true or false {needs}')
        else:
            yield from _text_faults(column, values[column], needs)
    chosen, rejected = values.get("chosen"), values.get("rejected")
    if "chosen" in shape.columns and chosen is not None and chosen == rejected:
        yield Fault("equal-pair", '"chosen" and "rejected" are the same text: the pair teaches nothing')


def _text_faults(column: str, value: Any, needs: str) -> Iterator[Fault]:
    if isinstance(value, str):
        if not value.strip() and column != "completion":
            yield Fault("empty-text", f'"{column}" is empty {needs}')
    elif isinstance(value, list):
        yield from _message_faults(column, value)
    else:
        yield Fault("wrong-type", f'"{column}" must be a string or a list of messages {needs}')


def _message_faults(column: str, messages: list[Any]) -> Iterator[Fault]:
    if not messages:
        yield Fault("empty-text", f'"{column}" has no messages')
    for message in messages:
        role = isinstance(message, dict) and (message.get("role") or message.get("from"))
        if not role:
            yield Fault("wrong-type", f'a message of "{column}" has no "role" (or "from")')
            return


def prompt_key(values: Mapping[str, Any]) -> bytes | None:
    """Sixteen bytes that stand for a row's prompt, or None where the row has none."""
    for column in ("prompt", "instruction", "messages", "conversations"):
        if values.get(column):
            prompt = values[column]
            text = prompt if isinstance(prompt, str) else repr(prompt[:-1] or prompt)
            extra = values.get("input") or "" if column == "instruction" else ""
            return hashlib.blake2b(f"{text}\0{extra}".encode(), digest_size=16).digest()
    return None


def _prompts(plan: Plan) -> frozenset[bytes]:
    if plan.evaluation is None:
        return frozenset()
    source = plan.data[plan.evaluation.data]
    if not isinstance(source, Source) or not source.paths:
        return frozenset()
    keys = (prompt_key(item.values) for item in scan(source) if isinstance(item, PlacedRow))
    return frozenset(key for key in keys if key is not None)
