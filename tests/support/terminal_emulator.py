"""The part of a terminal that the live screen relies on: a grid of cells, cursor movement, line erasure."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Terminal:
    """Lines wrap at `width`, as on a real one; there is no lower edge."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[str] = [""]
        self.x = self.y = 0
        self.cursor_shown = True

    def feed(self, data: str) -> None:
        for match in _TOKEN.finditer(data):
            arguments, command, carriage_return, newline, text = match.groups()
            if command:
                self._control(arguments, command)
            elif carriage_return:
                self.x = 0
            elif newline:
                self.x, self.y = 0, self.y + 1
                self._reach()
            else:
                self._write(text)

    def narrow(self, width: int) -> None:
        """A narrower window: lines that no longer fit are wrapped, and the cursor goes with its text."""
        self.width = width
        wrapped: list[str] = []
        for y, row in enumerate(self.rows):
            pieces = [row[i : i + width] for i in range(0, len(row), width)] or [""]
            if y == self.y:
                piece = min(self.x // width, len(pieces) - 1)
                self.x, cursor = self.x - piece * width, len(wrapped) + piece
            wrapped += pieces
        self.rows, self.y = wrapped, cursor

    @property
    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows).strip("\n") + "\n"

    def _control(self, arguments: str, command: str) -> None:
        if command == "A":
            self.y = max(self.y - int(arguments or 1), 0)
        elif command == "K" and arguments == "2":
            self.rows[self.y] = ""
        elif command in "lh" and arguments == "?25":
            self.cursor_shown = command == "h"
        elif command != "m":
            raise NotImplementedError(f"ESC [ {arguments} {command}")

    def _write(self, text: str) -> None:
        for character in text:
            if self.x == self.width:
                self.x, self.y = 0, self.y + 1
                self._reach()
            row = self.rows[self.y].ljust(self.x)
            self.rows[self.y] = row[: self.x] + character + row[self.x + 1 :]
            self.x += 1

    def _reach(self) -> None:
        self.rows += [""] * (self.y + 1 - len(self.rows))
