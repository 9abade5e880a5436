"""Read the elements of a JSON list incrementally, each with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from ptspec.data.readers.jsonl import HALF, RepeatedKey, encodable, half_escape, scan_once

PIECE = 1 << 18
"""Characters read at a time, doubled while an element does not end within them."""
_CUT = 16
"""An error this close to the end of the buffer may be due to truncation."""

_comma = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=[^ \t\r\n])").match
_after_space = re.compile(r"[ \t\r\n]*").match


class NotAList(ValueError):
    """A syntax error; `line` and `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.reason, self.line, self.column = reason, line, column


@dataclass
class _Window:
    """The part of a text in memory.

    `line` is that of the character at `counted`, up to which line breaks were counted; `column` that of the
    first character.
    """

    file: IO[str]
    text: str = ""
    at: int = 0
    counted: int = 0
    line: int = 1
    column: int = 1
    piece: int = PIECE
    ended: bool = field(default=False)

    def more(self) -> None:
        """Drop the consumed text and read on."""
        _, self.column = self.place(self.at)
        self.count()
        read = self.file.read(self.piece)
        self.ended = not read
        self.text, self.at, self.counted = self.text[self.at :] + read, 0, 0
        self.piece *= 2

    def count(self) -> int:
        """Return the line of the next character. Each stretch is counted once."""
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def place(self, index: int) -> tuple[int, int]:
        """Return line and column of the character at `index`, which is not before `counted`."""
        before = self.text.rfind("\n", 0, index)
        column = self.column + index if before < 0 else index - before
        return self.line + self.text.count("\n", self.counted, index), column

    def skip(self) -> str:
        """Return the next character that is not a space, "" at the end of the file."""
        while True:
            self.at = _after_space(self.text, self.at).end()  # type: ignore[union-attr]  # it always matches
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.more()

    def wrong(self, reason: str, index: int | None = None) -> NotAList:
        return NotAList(reason, *self.place(self.at if index is None else index))

    def value(self) -> Any:
        """Return the JSON value that begins here and move behind it."""
        while True:
            try:
                value, end = scan_once(self.text, self.at)
            except StopIteration as error:
                if self.ended or error.value < len(self.text) - _CUT:
                    raise self.wrong("not valid JSON: Expecting value", error.value) from None
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - _CUT
                if self.ended or not is_cut:
                    raise self.wrong(f"not valid JSON: {error.msg}", error.pos) from None
            except RepeatedKey as error:
                raise self.wrong(str(error)) from None
            except (RecursionError, ValueError) as error:
                raise self.wrong(f"not valid JSON: {error or 'nested too deeply'}") from None
            else:
                if end < len(self.text) or self.ended:
                    self._check(value, end)
                    self.at, self.piece = end, PIECE
                    return value
            self.more()

    def plain(self) -> Iterator[tuple[int, Any]]:
        """Yield elements with their lines while the following comma and element are in memory.

        Stops before one that `value` must read.
        """
        text, at, line, counted = self.text, self.at, self.line, self.counted
        while True:
            try:
                value, end = scan_once(text, at)
            except (ValueError, StopIteration, RecursionError):
                break
            comma = _comma(text, end)
            if comma is None or half_escape(text, at, end):
                break
            line += text.count("\n", counted, at)
            yield line, value
            counted, at = at, comma.end()
        self.at, self.line, self.counted = at, line, counted

    def _check(self, value: Any, end: int) -> None:
        """Raise for half a surrogate pair in `value`, which ends before `end`."""
        if half_escape(self.text, self.at, end):
            try:
                encodable(value)
            except UnicodeEncodeError:
                raise self.wrong(HALF) from None


def elements(file: IO[str]) -> Iterator[tuple[int, Any]]:
    """Yield each element with its first line. Raises `NotAList` at the first syntax error."""
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
        yield from window.plain()
        line = window.count()
        yield line, window.value()
        following = window.skip()
        if following not in (",", "]"):
            what = "the list is never closed" if not following else "Expecting ',' delimiter"
            raise window.wrong(f"not valid JSON: {what}")
        window.at += 1
        if following == "]":
            return
