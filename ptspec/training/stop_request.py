"""Stop requests: SIGINT, SIGTERM, --max-time. Loads no torch: it listens from a run's first moment."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the run is to stop, and why. A second signal is not caught."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.by_signal: str | None = None

    @property
    def reason(self) -> str | None:
        if self.by_signal is None and self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time given by --max-time is over"
        return self.by_signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catches SIGINT and SIGTERM while this lasts."""
        before = {number: signal.signal(number, self._caught) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.by_signal = f"{signal.Signals(number).name} was received"
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL if each is not signal.SIGINT else signal.default_int_handler)
