"""One writer a run folder. The kernel holds the lock for one process: a dead holder's is gone with it.

A record lock, not flock: forked children do not inherit it (data loader workers may outlive a killed run by
seconds), and network file systems have it too.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from ptspec.diagnostics import Diagnostic, InputError, Location

LOCK = ".lock"


@dataclass(frozen=True)
class Holder:
    """Who writes into a folder. `since` is in UTC, ISO 8601."""

    host: str
    pid: int
    since: str

    @property
    def words(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since[:19].replace('T', ' ')} UTC"


@contextmanager
def lock(output: Path) -> Iterator[Holder | None]:
    """Holds `output` for this process; yields who held it before and died, if somebody did.

    Raises `InputError` naming the holder where another process has it.
    """
    path = output / LOCK
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise InputError(_held(output, path)) from None
        file.seek(0)  # Reading it through another handle would give the lock up when that is closed.
        died = _read(file.read())
        holder = Holder(socket.gethostname(), os.getpid(), datetime.now(timezone.utc).isoformat())
        _write(file, json.dumps(asdict(holder)))
        try:
            yield died
        finally:
            with suppress(OSError):
                _write(file, "")


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _read(text: str) -> Holder | None:
    try:
        said = json.loads(text)
        return Holder(str(said["host"]), int(said["pid"]), str(said["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _held(output: Path, path: Path) -> Diagnostic:
    try:
        holder = _read(path.read_text(encoding="utf-8"))
    except OSError:
        holder = None
    return Diagnostic(
        "run-in-progress",
        f"{output} is being written by {holder.words if holder else 'another process'}",
        Location(str(output)),
        hint="wait for it, or give this run a folder of its own: --output DIR",
    )
