"""Whether the hub can be reached, tested once for all ids; parallel requests within a time limit."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from ptspec.diagnostics import first_line
from ptspec.hub.cache import DATASET, MODEL

PROBE = 2.0
"""Time limit for the first answer of the hub, in seconds."""

TIMEOUT = 5.0
"""Time limit of one request, in seconds."""

VALID = 60
"""Seconds for which an answer of the hub is reused."""

_PROBING = threading.Lock()
_THREAD = "ptspec-hub"
_TRUE = ("1", "ON", "YES", "TRUE")

_WHY_OFFLINE: dict[str, str] = {}
"""Endpoint -> why ptspec set HF_HUB_OFFLINE."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


def obstacle(kind: str = MODEL) -> str | None:
    """Return why the hub is not queried for a repository of `kind`; None if it can be."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return _WHY_OFFLINE.get(constants.ENDPOINT, "offline: HF_HUB_OFFLINE")
    if kind == DATASET and os.environ.get("HF_DATASETS_OFFLINE", "").upper() in _TRUE:
        return "offline: HF_DATASETS_OFFLINE"
    with _PROBING:
        return _probed(constants.ENDPOINT, int(time.monotonic()) // VALID)


def stay_offline(why: str) -> None:
    """Keep libraries of this process from querying the hub: each would try for tens of seconds."""
    from huggingface_hub import constants

    if not constants.is_offline_mode():
        _WHY_OFFLINE[constants.ENDPOINT] = why
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True


def together(tasks: Mapping[Key, Callable[[], Result]], seconds: float) -> dict[Key, Result | Exception]:
    """Return each task's result or exception; `TimeoutError` for those not finished in time.

    Hanging threads, in a name lookup say, are left behind and end with the process.
    """
    results: dict[Key, Result | Exception] = {}

    def work(key: Key, task: Callable[[], Result]) -> None:
        try:
            results[key] = task()
        except Exception as error:
            results[key] = error

    _silence()
    threads = [threading.Thread(target=work, args=pair, name=_THREAD, daemon=True) for pair in tasks.items()]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    done = dict(results)
    return {key: done.get(key, TimeoutError(f"no answer within {seconds:g} s")) for key in tasks}


def reason(error: Exception) -> str:
    """Return in a few words why something was not checked."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status is not None:
        return f"it answered {status}"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "no answer in time"
    if isinstance(error, PermissionError):
        return f"the cache cannot be written: {error.filename}"
    if isinstance(error, ConnectionError) or "Connect" in type(error).__name__:
        return "no network"
    return first_line(error)[:100]


@functools.lru_cache(maxsize=4)
def _probed(endpoint: str, period: int) -> str | None:
    from huggingface_hub import get_session

    def ask() -> None:
        get_session().head(endpoint, timeout=PROBE, follow_redirects=False)

    outcome = together({endpoint: ask}, PROBE)[endpoint]
    return reason(outcome) if isinstance(outcome, Exception) else None


class _OfOtherThreads(logging.Filter):
    """Drop huggingface_hub's log records of our threads: failures are reported once, by us."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.threadName != _THREAD


_FILTER = _OfOtherThreads()


def _silence() -> None:
    import huggingface_hub.utils  # noqa: F401  # sets its handler up

    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_FILTER)
