"""Text positions, and RFC 6901 pointers into a JSON value."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ptspec.diagnostics import Location

NEWLINE = re.compile(r"\r\n|\n|\r")


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text."""

    start: int
    end: int


class Lines:
    """Converts character offsets to lines and columns."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        breaks = [match.span() for match in NEWLINE.finditer(text)]
        self._starts = [0, *(end for _, end in breaks)]
        stops = [*(start for start, _ in breaks), len(text)]
        self._texts = [text[start:stop] for start, stop in zip(self._starts, stops, strict=True)]

    def locate(self, span: Span) -> Location:
        """Return the location of `span`; one over several lines is underlined on the first only."""
        index = bisect_right(self._starts, span.start) - 1
        column, line = span.start - self._starts[index], self._texts[index]
        length = max(1, min(span.end - span.start, len(line) - column))
        return Location(self.file, index + 1, column + 1, length, line)


def join(pointer: str, *steps: str | int) -> str:
    """Return the RFC 6901 pointer `steps` below `pointer`."""
    return pointer + "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def split(pointer: str) -> list[str]:
    """Return the unescaped steps of an RFC 6901 pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def ancestors(pointer: str) -> Iterator[str]:
    """Yield `pointer`, then each enclosing one, the whole document ("") last."""
    while pointer:
        yield pointer
        pointer = pointer.rpartition("/")[0]
    yield ""


def at(value: Any, pointer: str) -> Any:
    """Return the value at `pointer`, or None if there is none."""
    for step in split(pointer):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def strings_in(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string of a JSON value with its pointer."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, Mapping | list):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from strings_in(item, join(pointer, key))
