"""Progress of an evaluation."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Receives what is computed ("answers"), and how many of how many are done."""


def discard_progress(what: str, done: int, total: int) -> None:
    """Discard progress."""


def counting(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """Return a function that adds to the done count of `total`; `progress` receives the sum, from 0 on."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if total:
            progress(what, done, total)

    add(0)
    return add


def counting_once_begun(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """Like `counting`, without reporting before the first call."""
    begun: list[Callable[[int], None]] = []

    def add(count: int) -> None:
        if not begun:
            begun.append(counting(progress, what, total))
        begun[0](count)

    return add
