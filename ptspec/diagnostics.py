"""Diagnostics as values: location, message, hint. Renders nothing and imports nothing of ptspec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum


class Severity(Enum):
    """Severity of a diagnostic: an error stops the command, a warning does not."""

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
    """One error or warning.

    `message` says what is wrong, `hint` (shown beside the underline) what to do, `notes` are further lines
    below. `pointer` is the JSON pointer (RFC 6901) of the faulty value; "" is the whole document.
    """

    code: str
    message: str
    location: Location | None = None
    pointer: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return the first line of `pt validate`'s output for it, with the hint."""
        where = "" if self.location is None else f"{self.location}: "
        hint = "" if self.hint is None else f" ({self.hint})"
        return f"{where}{self.severity.value}[{self.code}]: {self.message}{hint}"


@dataclass(frozen=True)
class Unchecked:
    """A remote resource that was not checked: its name, the reason, and the recipe field that names it."""

    name: str
    why: str
    pointer: str
    location: Location | None = None


class PtError(Exception):
    """Base class of errors shown to users: diagnostics and an exit code."""

    exit: Exit = Exit.FAILED

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("; ".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics


def noted(diagnostics: Iterable[Diagnostic], *notes: str) -> tuple[Diagnostic, ...]:
    """Return the diagnostics with `notes` added to each."""
    return tuple(replace(one, notes=(*one.notes, *notes)) for one in diagnostics)


class InputError(PtError):
    """The recipe, its data or the command line is invalid; nothing was started or written."""

    exit = Exit.WRONG_INPUT


class StageError(PtError):
    """A stage failed while running; finished stages are kept."""

    exit = Exit.FAILED


class CheckError(PtError):
    """A check of the recipe failed."""

    exit = Exit.CHECK_FAILED


class Interrupted(PtError):
    """The user or the system stopped the run; the same command resumes it."""

    exit = Exit.INTERRUPTED


def cut(text: str, most: int) -> str:
    """Return `text`, truncated to `most` characters with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()
