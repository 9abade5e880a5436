"""Choose a run's listener: the live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TextIO, cast

from rich.console import Console

from ptspec import methods
from ptspec.methods.types import Headline
from ptspec.report.plain import Plain
from ptspec.report.rows import Headlines
from ptspec.report.screen import Screen


def headline(method: str) -> tuple[Headline, ...]:
    """Return the metrics that a method shows during training; () for an unknown one."""
    known = methods.find(method)
    return known.headline if known else ()


def listener(
    stream: TextIO | None = None,
    *,
    headline: Headlines = headline,
    timer: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = datetime.now,
) -> Screen | Plain:
    """Return the listener of one run, a context manager; `stream` is stderr by default.

    An exception that leaves the block marks the active stage as failed or interrupted. A closed stream
    silences the listener and never stops the run.
    """
    sink = cast("TextIO", Sink(stream or sys.stderr))
    if is_live(sink):
        console = Console(file=sink, force_terminal=True, highlight=False, emoji=False, markup=False)
        return Screen(console, headline, timer, lambda: now().date())
    return Plain(sink, headline, timer, now)


def is_live(stream: TextIO) -> bool:
    """Return whether lines can be redrawn: the terminal supports cursor movement and our characters."""
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return stream.isatty() and not dumb and stream.encoding.lower().replace("-", "") == "utf8"


class Sink(io.TextIOBase):
    """A text stream that ignores a closed reader, and writes ASCII if the other end is not UTF-8."""

    ASCII = str.maketrans(
        {
            "−": "-",
            "–": "-",
            "—": "-",
            "·": "|",
            "✓": "+",
            "✗": "x",
            "‖": "=",
            "…": "~",
            "→": "->",
            "≥": ">=",
            "≤": "<=",
            "±": "+-",
            "Δ": "d",
            "▲": "^",
            "▼": "v",
            "←": "<-",
        }
    )

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write `text`; ignore a closed stream."""
        if not self._gone:
            try:
                self._stream.write(self._encodable(text))
            except (OSError, ValueError):
                self._gone = True
        return len(text)

    def flush(self) -> None:
        """Flush; ignore a closed stream."""
        if not self._gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._gone = True

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return text.translate(self.ASCII).encode("ascii", "replace").decode("ascii")
        return text
