"""One writer a run folder. The kernel holds the lock, so a dead holder's lock is gone with it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from ptspec.diagnostics import Diagnostic, InputError, Location

LOCK = ".lock"


@contextmanager
def lock(output: Path) -> Iterator[None]:
    """Holds `output` for this process. Raises `InputError` naming the holder where another process has it."""
    path = output / LOCK
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(_held(output, path)) from None
        file.seek(0)
        file.truncate()
        json.dump(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": datetime.now(timezone.utc).isoformat(),
            },
            file,
        )
        file.flush()
        yield


def _held(output: Path, path: Path) -> Diagnostic:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        who = (
            f"process {holder['pid']} on {holder['host']}, since {holder['since'][:19].replace('T', ' ')} UTC"
        )
    except (OSError, ValueError, KeyError):
        who = "another process"
    return Diagnostic(
        "run-in-progress",
        f"{output} is being written by {who}",
        Location(str(output)),
        hint="wait for it, or give this run a folder of its own: --output DIR",
    )
