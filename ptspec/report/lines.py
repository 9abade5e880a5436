"""Lines of text for a screen: breaking them between words, and what a pipe gets of them."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from rich.text import Text

PIPE = 100
COLOURS = {"good": "green", "bad": "red", "warn": "yellow"}
"""By the tone of what is shown."""


def columns() -> int:
    """The width of the terminal on stdout; 100 where there is none."""
    return shutil.get_terminal_size((PIPE, 24)).columns


def as_text(lines: Iterable[Text]) -> str:
    """The lines without style or trailing blanks, each ended."""
    return "".join(line.plain.rstrip() + "\n" for line in lines)


def parts_in_lines(head: str, parts: Sequence[str], width: int, between: str = " · ") -> list[str]:
    """The parts behind `head`, `between` two of them, on as many lines as they need; none is broken."""
    lines: list[str] = []
    room = max(width - len(head), 20)
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= room:
            lines[-1] += between + part
        else:
            lines.append(part)
    return [(head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines)]


def hanging(head: str, text: str, width: int) -> list[str]:
    """`text` behind `head`, broken between words, further lines indented as far."""
    room = max(width - len(head), 20)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [(head if i == 0 else " " * len(head)) + line for i, line in enumerate(lines)]
