"""What clients of HTTP servers share: interruptible waits between retries, and messages without the key."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from ptspec.diagnostics import cut

if TYPE_CHECKING:
    import httpx

FIRST_BACKOFF = 0.5
"""Mean wait before the second try of a request, in seconds; doubled after each further one."""


class RetryingClient:
    """Requests to one server by `http`. Thread-safe. The key appears in no message."""

    def __init__(self, http: httpx.Client, key: str | None, longest_backoff: float) -> None:
        """Set up; `longest_backoff`: longest wait between two tries, in seconds."""
        self.first_backoff = FIRST_BACKOFF
        self._http = http
        self._key = key
        self._longest_backoff = longest_backoff
        self._random = random.Random()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Interrupt the waits of every thread, until `resume`."""
        self._stopped.set()

    def resume(self) -> None:
        """Allow waits again after `stop`."""
        self._stopped.clear()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_stopped_within(self, tries: int, seconds: float | None = None) -> bool:
        """Wait `seconds`, by default an exponential backoff with jitter; return whether `stop` was called."""
        longest = min(self._longest_backoff, self.first_backoff * 2 ** (tries - 1))
        return self._stopped.wait(longest * self._random.uniform(0.5, 1.0) if seconds is None else seconds)

    def without_key(self, text: str, most: int) -> str:
        """Return a server's `text` in one line of at most `most` characters, the key redacted."""
        line = " ".join(text.split())
        return cut(line.replace(self._key, "[key]") if self._key else line, most)


def headers(key: str | None) -> dict[str, str]:
    """Return the request headers for an API key."""
    return {"Authorization": f"Bearer {key}"} if key else {}
