"""What a worker and the controller say to each other: one JSON object a line.

The worker tells each event as it happens, and last how it ended. The controller says when to stop; when its
end of the pipe closes it is gone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ptspec.diagnostics import CheckError, Diagnostic, Exit, InputError, Interrupted, PtError, StageError
from ptspec.events import Event
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
class Stop:
    """Save and end; `reason` is what is told of it."""

    reason: str


@dataclass(frozen=True)
class _Line:
    message: Happened | Done | Failed | Stop


ERRORS = {kind.exit: kind for kind in (StageError, InputError, CheckError, Interrupted)}


def line(message: Happened | Done | Failed | Stop) -> bytes:
    return json.dumps(to_json(_Line(message))).encode() + b"\n"


def read(text: bytes) -> Happened | Done | Failed | Stop:
    """The message in a line. Raises `ValueError` where there is none."""
    try:
        return from_json(_Line, json.loads(text)).message
    except (TypeError, KeyError) as error:
        raise ValueError(f"no message: {error}") from error


def failed(error: PtError) -> Failed:
    return Failed(error.exit, error.diagnostics)


def error_of(message: Failed) -> PtError:
    return ERRORS[message.exit](*message.diagnostics)
