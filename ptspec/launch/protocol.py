"""What a worker and the controller say to each other: one JSON object a line.

The worker tells each event as it happens, and last how it ended. The controller says when to stop; when its
end of the pipe closes it is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ptspec.diagnostics import Diagnostic, Exit, PtError
from ptspec.events import Event
from ptspec.processes import ERRORS
from ptspec.store.typed_json import from_json, to_json


@dataclass(frozen=True)
class Happened:
    event: Event


@dataclass(frozen=True)
class Done:
    """The folder is made."""


@dataclass(frozen=True)
class Failed:
    """What the work raised: the exit code of its error, and what is told of it."""

    exit: Exit
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Died:
    """Processes that ended before the work was done: number and exit code of each, of one that was killed by
    a signal the negative number of that."""

    codes: tuple[tuple[int, int], ...]


Message = Happened | Done | Failed | Died


@dataclass(frozen=True)
class Stop:
    """Save and end; `reason` is what is told of it."""

    reason: str


@dataclass(frozen=True)
class _Line:
    message: Happened | Done | Failed | Died | Stop


def line(message: Message | Stop) -> bytes:
    return json.dumps(to_json(_Line(message))).encode() + b"\n"


def read(text: bytes) -> Message | Stop:
    """The message in a line. Raises `ValueError` where there is none."""
    try:
        return from_json(_Line, json.loads(text)).message
    except (TypeError, KeyError) as error:
        raise ValueError(f"no message: {error}") from error


def failed(error: PtError) -> Failed:
    return Failed(error.exit, error.diagnostics)


def error_of(message: Failed) -> PtError:
    return ERRORS[message.exit](*message.diagnostics)
