"""Messages between worker and controller: one JSON object per line.

The worker sends each event, and at the end how it ended. The controller sends a stop request; when its end of
the pipe closes, it has ended.
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
    """An event of the run."""

    event: Event


@dataclass(frozen=True)
class Done:
    """The folder is made."""


@dataclass(frozen=True)
class Failed:
    """The exception of the work: its exit code and diagnostics."""

    exit: Exit
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Died:
    """Processes that ended early: rank and exit code of each, negative for a signal."""

    codes: tuple[tuple[int, int], ...]


Message = Happened | Done | Failed | Died


@dataclass(frozen=True)
class Stop:
    """Save and end; `reason` is shown to the user."""

    reason: str


@dataclass(frozen=True)
class _Line:
    message: Happened | Done | Failed | Died | Stop


def line(message: Message | Stop) -> bytes:
    """Return a message as one line of JSON."""
    return json.dumps(to_json(_Line(message))).encode() + b"\n"


def read(text: bytes) -> Message | Stop:
    """Return the message in a line. Raises `ValueError` if there is none."""
    try:
        return from_json(_Line, json.loads(text)).message
    except (TypeError, KeyError) as error:
        raise ValueError(f"no message: {error}") from error


def failed(error: PtError) -> Failed:
    """Return the message of an error."""
    return Failed(error.exit, error.diagnostics)


def error_of(message: Failed) -> PtError:
    """Return the error of a message."""
    return ERRORS[message.exit](*message.diagnostics)
