"""Faults as values: where, what, and what to do. Renders nothing, imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    CHECK_FAILED = 3
    INTERRUPTED = 130


@dataclass(frozen=True)
class Location:
    """A place in a file. `line` and `column` count from 1, in characters; `length` is what to underline.

    `text` is the line itself, so that a diagnostic can be shown after the file has changed.
    """

    file: str
    line: int | None = None
    column: int | None = None
    length: int = 1
    text: str | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True)
class Diagnostic:
    """One fault.

    `message` says what is wrong, `hint` (shown beside the underline) what to do, `notes` are further
    lines below. `pointer` is the JSON pointer (RFC 6901) of the faulty value; "" is the whole document.
    """

    code: str
    message: str
    location: Location | None = None
    pointer: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """One line, as the first of `pt validate`'s, and what to do."""
        where = "" if self.location is None else f"{self.location}: "
        hint = "" if self.hint is None else f" ({self.hint})"
        return f"{where}{self.severity.value}[{self.code}]: {self.message}{hint}"


@dataclass(frozen=True)
class Unlooked:
    """Something outside this machine that was not checked: its name, why not, and who names it."""

    name: str
    why: str
    pointer: str
    location: Location | None = None


class PtError(Exception):
    """The root of every error that is told to a user: diagnostics, and the exit code that fits them."""

    exit: Exit = Exit.FAILED

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics


def noted(diagnostics: Iterable[Diagnostic], *notes: str) -> tuple[Diagnostic, ...]:
    """The diagnostics with further notes each."""
    return tuple(replace(one, notes=(*one.notes, *notes)) for one in diagnostics)


class InputError(PtError):
    """The recipe, its data or the command line is wrong; nothing was started or written."""

    exit = Exit.WRONG_INPUT


class StageError(PtError):
    """A stage failed while running; what is finished is kept."""

    exit = Exit.FAILED


class CheckError(PtError):
    """A check of the recipe did not hold."""

    exit = Exit.CHECK_FAILED


class Interrupted(PtError):
    """The user or the system asked the run to stop; the same command goes on from there."""

    exit = Exit.INTERRUPTED


def cut(text: str, most: int) -> str:
    """`text`, or as much of its beginning as goes into `most` characters, with the sign that more follows."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_line(error: BaseException) -> str:
    """The first line of what a library's error says; the name of its class where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()
