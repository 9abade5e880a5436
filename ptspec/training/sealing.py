"""Seal checkpoints in the background: hashing takes a second per one or two gigabytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

from ptspec.training.checkpoints import publish_checkpoint, rotate


class Sealing:
    """Seals one checkpoint at a time. Errors are raised by the next `wait`."""

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def begin(self, written: Path, keep: int | None, best: int | None, done: Callable[[], None]) -> None:
        """Seal and publish `written`, remove old checkpoints, then call `done`.

        The newest `keep` and that of step `best` are kept.
        """
        self.wait()

        def seal() -> None:
            try:
                publish_checkpoint(written, self._checkpoints)
                rotate(self._checkpoints, keep, best)
                done()
            except Exception as error:
                self._error = error

        # A daemon, so that a process that must stop does not wait for it.
        self._thread = Thread(target=seal, name="ptspec-sealing", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until sealing is finished. Raises its error, once."""
        self.finish()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Like `wait`, without raising."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
