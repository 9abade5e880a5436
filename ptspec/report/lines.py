"""Wrap lines of text for a screen, and print them to a pipe."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from rich.text import Text

PIPE = 100
COLOURS = {"good": "green", "bad": "red", "warn": "yellow"}
"""Colours by tone."""


def columns() -> int:
    """Return the width of the terminal on stdout; 100 without one."""
    return shutil.get_terminal_size((PIPE, 24)).columns


def as_text(lines: Iterable[Text]) -> str:
    """Return the lines without style or trailing blanks, each with a line feed."""
    return "".join(line.plain.rstrip() + "\n" for line in lines)


def parts_in_lines(head: str, parts: Sequence[str], width: int, between: str = " · ") -> list[str]:
    """Return the parts after `head`, joined by `between`, on as many lines as needed; none is wrapped."""
    lines: list[str] = []
    room = max(width - len(head), 20)
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= room:
            lines[-1] += between + part
        else:
            lines.append(part)
    return [(head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines)]


def hanging(head: str, text: str, width: int) -> list[str]:
    """Return `text` after `head`, wrapped between words, with a hanging indent."""
    room = max(width - len(head), 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [(head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines)]
