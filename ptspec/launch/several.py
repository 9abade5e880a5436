"""Files that a job's workers leave beside it: signs of life, and the errors that ended them.

A worker may fail while the others wait for it and cannot receive messages.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import NoReturn

from ptspec.diagnostics import PtError
from ptspec.launch.protocol import Failed, error_of, failed, line, read
from ptspec.store.files import write_json

FOLDER = ".processes"
BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 45.0
"""Seconds without a sign of life after which a process counts as hanging. A busy main thread does not matter;
only a stopped process, or one that keeps the GIL, gives none."""
LOOKS = 3
"""Consecutive checks, one per `BEAT`, in which it must be silent."""


@dataclass(frozen=True)
class Left:
    """The files of the workers in `folder`."""

    folder: Path

    def end(self, index: int, error: PtError) -> NoReturn:
        """Store the error of this process, rank `index`, and exit at once.

        An orderly exit would wait for the others, which wait for this one.
        """
        self.fail(index, error)
        logging.shutdown()
        os._exit(error.exit)

    def fail(self, index: int, error: PtError) -> None:
        """Store the error that ended rank `index`."""
        value = {"time": time.time(), "line": line(failed(error)).decode()}
        with contextlib.suppress(OSError):
            write_json(self.folder / f"{index}.error.json", value)

    def first_failure(self) -> tuple[int, PtError] | None:
        """Return the rank that failed first, and its error, the cause of the others'."""
        found = self.failures()
        if not found:
            return None
        _, index, message = min(found, key=lambda one: one[0])
        return index, error_of(message)

    def failures(self) -> list[tuple[float, int, Failed]]:
        """Return each failure: time (seconds since the epoch), rank, and error."""
        found = []
        for file in self.folder.glob("*.error.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                value = json.loads(file.read_text(encoding="utf-8"))
                message = read(value["line"].encode())
                if isinstance(message, Failed):
                    found.append((value["time"], int(file.name.partition(".")[0]), message))
        return found

    def live(self, index: int) -> None:
        """Write signs of life until the folder is removed; exit if the launcher has ended."""
        parent, file = os.getppid(), self.folder / f"{index}.alive"
        with contextlib.suppress(OSError):
            file.write_text(str(os.getpid()))

        def beat() -> None:
            while os.getppid() == parent:
                try:
                    os.utime(file)
                except OSError:  # the job is done
                    return
                time.sleep(BEAT)
            os._exit(1)

        Thread(target=beat, name="ptspec-alive", daemon=True).start()

    def silent(self) -> int | None:
        """Return a rank without a sign of life for `SILENCE` seconds, else None."""
        now = time.time()
        for file in self.folder.glob("*.alive"):
            with contextlib.suppress(OSError):
                if now - file.stat().st_mtime > SILENCE:
                    return int(file.name.partition(".")[0])
        return None

    def kill(self) -> None:
        """Kill every process."""
        for file in self.folder.glob("*.alive"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


@contextlib.contextmanager
def ending_silent_ones(left: Left) -> Iterator[list[int]]:
    """Within the context, kill all processes as soon as one is silent; it is added to the list."""
    over, silent = Flag(), list[int]()

    def watch() -> None:
        looks = 0
        while not over.wait(BEAT):
            index = left.silent()
            # After a machine has slept, all seem silent until their next sign of life.
            looks = 0 if index is None else looks + 1
            if index is not None and looks >= LOOKS:
                silent.append(index)
                left.kill()
                return

    thread = Thread(target=watch, name="ptspec-silence", daemon=True)
    thread.start()
    try:
        yield silent
    finally:
        over.set()
        thread.join()
