"""How far an evaluation is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Hears what is being made ("answers"), and how many of how many are done."""


def unheard(what: str, done: int, total: int) -> None:
    """The progress of what nobody watches."""


def counting(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """What is to be told how many more of `total` are done; `progress` hears the sum, from none on."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if total:
            progress(what, done, total)

    add(0)
    return add


def counting_once_begun(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """As `counting`, but `progress` hears nothing before the first call."""
    begun: list[Callable[[int], None]] = []

    def add(count: int) -> None:
        if not begun:
            begun.append(counting(progress, what, total))
        begun[0](count)

    return add
