"""Seals checkpoints beside the training: hashing takes a second for each gigabyte or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

from ptspec.training.checkpoints import publish_checkpoint, rotate


class Sealing:
    """One checkpoint at a time. What goes wrong meanwhile is raised by the next `wait`."""

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def begin(self, written: Path, keep: int | None, best: int | None, done: Callable[[], None]) -> None:
        """Seals `written`, gives it its name and removes all but the newest `keep` and that of step `best`;
        then calls `done`."""
        self.wait()

        def seal() -> None:
            try:
                publish_checkpoint(written, self._checkpoints)
                rotate(self._checkpoints, keep, best)
                done()
            except Exception as error:
                self._error = error

        # A daemon: a process that is told to stop at once does not stay for it.
        self._thread = Thread(target=seal, name="ptspec-sealing", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is being sealed. Raises what went wrong, once."""
        self.finish()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """As `wait`, and raises nothing."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
