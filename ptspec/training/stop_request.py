"""Stop requests: SIGINT, SIGTERM, SIGHUP, Slurm's signals, and --max-time. Imports no torch."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C, system shutdown, closed terminal, and Slurm's signals (--signal) before a time limit. Shells and
session managers may send SIGHUP repeatedly, and with SIGTERM."""

OF_A_PERSON = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A request to stop the run, with its reason.

    A second SIGINT or SIGTERM is not caught, unless a launcher sends them: it sends several and later kills.
    """

    def __init__(self, deadline: float | None = None, *, from_launcher: bool = False) -> None:
        self.deadline = deadline
        self.from_launcher = from_launcher
        self.by_signal: str | None = None

    @property
    def reason(self) -> str | None:
        """Why the run must stop; None if it need not."""
        if self.by_signal is None and self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time given by --max-time is over"
        return self.by_signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch `SIGNALS` within the context; an ignored SIGHUP (nohup) stays ignored."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        caught = [number for number in SIGNALS if number != signal.SIGHUP or before[number] != signal.SIG_IGN]
        for number in caught:
            signal.signal(number, self._caught)
        try:
            yield
        finally:
            for number in caught:
                signal.signal(number, before[number])

    def ask(self, reason: str) -> None:
        """Request a stop for a reason that another process has received."""
        self.by_signal = reason

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.by_signal = f"{signal.Signals(number).name} was received"
        if number in OF_A_PERSON and not self.from_launcher:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
