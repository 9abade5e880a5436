"""A lock that allows one writer per run folder. The kernel drops it when the holder dies.

A record lock, not flock: forked children do not inherit it (data loader workers may outlive a killed run by
seconds), and most network file systems support it. Without lock support a lock file is used.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from filelock import SoftFileLock, Timeout

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.processes import has_ended

LOCK = ".lock"
SOFT_LOCK = ".lock.soft"
"""Name of the lock file for file systems without locks."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""Error numbers of file systems without locks (Lustre without -o flock, NFS without lockd, many FUSE)."""


@dataclass(frozen=True)
class Holder:
    """Who writes into a folder. `since` is in UTC, ISO 8601."""

    host: str
    pid: int
    since: str

    @property
    def words(self) -> str:
        """The holder in words: "process 12 on host, since 2026-01-01 10:00:00 UTC"."""
        return f"process {self.pid} on {self.host}, since {self.since[:19].replace('T', ' ')} UTC"


@dataclass(frozen=True)
class Lock:
    """A folder that this process holds.

    `died`: the previous holder, if it died; `is_soft`: a lock file is used, since the file system has no
    locks.
    """

    died: Holder | None
    is_soft: bool


@contextmanager
def lock(output: Path) -> Iterator[Lock]:
    """Hold `output` for this process. Raises `InputError` naming the holder if another process has it."""
    path = output / LOCK
    with path.open("a+", encoding="utf-8") as file, ExitStack() as held:
        is_soft = not _locked(file, output, path)
        if is_soft:
            held.enter_context(_soft_lock(output, path))
        file.seek(0)  # Closing another handle of the file would release the lock.
        died = _read(file.read())
        holder = Holder(socket.gethostname(), os.getpid(), datetime.now(timezone.utc).isoformat())
        _write(file, json.dumps(asdict(holder)))
        try:
            yield Lock(died, is_soft)
        finally:
            with suppress(OSError):
                _write(file, "")


def writer_of(output: Path) -> Holder | None:
    """Return the process that writes into `output` now, as far as can be known from this host."""
    holder: Holder | None = None
    try:
        with (output / LOCK).open(encoding="utf-8") as file:
            holder = _read(file.read())
            if holder is None or holder.host != socket.gethostname():
                return holder
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # the kernel releases a dead process's lock
    except (BlockingIOError, PermissionError):
        return holder
    except OSError as error:
        is_alive = holder is not None and not has_ended(holder.pid)
        return holder if error.errno in NO_LOCKS and is_alive else None
    return None


def _locked(file: IO[str], output: Path, path: Path) -> bool:
    """Lock `file`; return False if the file system has no locks."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise InputError(_held(output, path)) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


@contextmanager
def _soft_lock(output: Path, path: Path) -> Iterator[None]:
    """Hold `output` by a lock file; replace that of a dead process of this host."""
    soft = SoftFileLock(str(output / SOFT_LOCK), timeout=0)
    try:
        soft.acquire()
    except Timeout:
        hint = f"if that process is gone: rm {shlex.quote(str(output / SOFT_LOCK))}"
        raise InputError(replace(_held(output, path), hint=hint)) from None
    try:
        yield
    finally:
        soft.release()


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
