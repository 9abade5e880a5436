"""Errors of rows, counted per file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Location, Severity

SHOWN_LINES = 3

LEAVE_OUT = '"on_bad_row": "leave_out" in the source leaves such rows out'


@dataclass(frozen=True)
class Fault:
    """A kind of error; equal errors of different rows are counted together.

    `example` is a word from the first row with the error.
    """

    code: str
    message: str
    severity: Severity = Severity.ERROR
    hint: str | None = None
    example: str | None = field(default=None, compare=False)


@dataclass
class Tally:
    """The counts of each error in a file, with the first lines."""

    rows: int = 0
    lines: dict[Fault, list[int]] = field(default_factory=dict)
    counts: dict[Fault, int] = field(default_factory=dict)

    def add(self, fault: Fault, line: int) -> None:
        """Count an error of the row on `line`."""
        lines = self.lines.setdefault(fault, [])
        self.counts[fault] = self.counts.get(fault, 0) + 1
        if len(lines) < SHOWN_LINES:
            lines.append(line)

    def join(self, later: Tally, offset: int) -> None:
        """Add the counts of a later part of the file, whose lines count from `offset` + 1."""
        self.rows += later.rows
        for fault, count in later.counts.items():
            lines = self.lines.setdefault(fault, [])
            self.counts[fault] = self.counts.get(fault, 0) + count
            lines += [offset + line for line in later.lines[fault]][: SHOWN_LINES - len(lines)]

    def diagnostics(self, file: Path, pointer: str) -> Iterator[Diagnostic]:
        """Yield each error with its first lines; the first one says how to leave bad rows out."""
        is_said = False
        for fault, lines in sorted(self.lines.items(), key=lambda found: found[1][0]):
            can_leave_out = fault.severity is Severity.ERROR and self.counts[fault] < self.rows
            leave_out_note = (LEAVE_OUT,) if can_leave_out and not is_said and fault.hint is not None else ()
            hint = LEAVE_OUT if can_leave_out and not is_said and fault.hint is None else fault.hint
            is_said = is_said or can_leave_out
            yield Diagnostic(
                code=fault.code,
                message=f"{fault.message}: {fault.example}" if fault.example else fault.message,
                location=Location(shown(file), lines[0]),
                pointer=pointer,
                hint=hint,
                notes=(*self._notes(fault, lines), *leave_out_note),
                severity=fault.severity,
            )

    def _notes(self, fault: Fault, lines: list[int]) -> tuple[str, ...]:
        count = self.counts[fault]
        if count == 1:
            return ()
        so = "have this error" if fault.severity is Severity.ERROR else "are so"
        more = ", …" if count > len(lines) else ""
        listed = ", ".join(str(line) for line in lines)
        return (f"{count:,} rows of {self.rows:,} {so}: lines {listed}{more}",)
