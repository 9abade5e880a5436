"""The elements of a JSON list read from a file piece by piece, each with its place; never the whole file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

PIECE = 1 << 18
"""Characters read at a time; twice as many each time an element does not end within them."""
_CUT = 16
"""An error this near to the end of what was read may be one of a text that is cut there."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class NotAList(ValueError):
    """What is wrong, and where: `line` and `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.reason, self.line, self.column = reason, line, column


@dataclass
class _Window:
    """The part of a text that is in memory. `line` and `column` are those of its first character."""

    file: IO[str]
    text: str = ""
    at: int = 0
    line: int = 1
    column: int = 1
    piece: int = PIECE
    ended: bool = field(default=False)

    def more(self) -> None:
        """Drops what is behind, reads on."""
        self.line, self.column = self.place(self.at)
        read = self.file.read(self.piece)
        self.ended = not read
        self.text, self.at = self.text[self.at :] + read, 0
        self.piece *= 2

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of the character at `index`."""
        breaks = self.text.count("\n", 0, index)
        if not breaks:
            return self.line, self.column + index
        return self.line + breaks, index - self.text.rindex("\n", 0, index)

    def skip(self) -> str:
        """The next character that is no space, "" at the end of the file."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.more()

    def wrong(self, reason: str, index: int | None = None) -> NotAList:
        return NotAList(reason, *self.place(self.at if index is None else index))

    def value(self) -> Any:
        """The JSON value that begins here; what follows it stands next."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - _CUT
                if self.ended or not is_cut:
                    raise self.wrong(f"not valid JSON: {error.msg}", error.pos) from None
            except (RecursionError, ValueError) as error:
                raise self.wrong(f"not valid JSON: {error or 'nested too deeply'}") from None
            else:
                if end < len(self.text) or self.ended:
                    self.at, self.piece = end, PIECE
                    return value
            self.more()


def elements(file: IO[str]) -> Iterator[tuple[int, Any]]:
    """Each element with the line it begins at. Raises `NotAList` at the first fault of the text."""
    window = _Window(file)
    if window.skip() != "[":
        raise window.wrong("a .json data file must be a list of rows [{…}, …], or hold one row a line")
    window.at += 1
    if window.skip() == "]":
        window.at += 1
    else:
        yield from _listed(window)
    if window.skip():
        raise window.wrong("not valid JSON: more text after the end of the list")


def _listed(window: _Window) -> Iterator[tuple[int, Any]]:
    while True:
        window.skip()
        line, _ = window.place(window.at)
        yield line, window.value()
        following = window.skip()
        if following not in (",", "]"):
            what = "the list is never closed" if not following else "Expecting ',' delimiter"
            raise window.wrong(f"not valid JSON: {what}")
        window.at += 1
        if following == "]":
            return
