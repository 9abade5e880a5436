"""Stop requests: signals and --max-time. Loads no torch: it listens from a run's first moment."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C, a system that shuts down, a terminal that went away, and what Slurm sends (--signal) before a job's
time is over. Shells and session managers send a hang-up more than once, and with SIGTERM."""

OF_A_PERSON = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the run is to stop, and why.

    A second SIGINT or SIGTERM is not caught, unless a launcher sends them, which sends several and kills
    after a while by itself."""

    def __init__(self, deadline: float | None = None, *, from_launcher: bool = False) -> None:
        self.deadline = deadline
        self.from_launcher = from_launcher
        self.by_signal: str | None = None

    @property
    def reason(self) -> str | None:
        if self.by_signal is None and self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time given by --max-time is over"
        return self.by_signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catches `SIGNALS` while this lasts; a hang-up that is ignored (nohup) stays ignored."""
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
        """Asks the run to stop because of what another process heard."""
        self.by_signal = reason

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.by_signal = f"{signal.Signals(number).name} was received"
        if number in OF_A_PERSON and not self.from_launcher:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
