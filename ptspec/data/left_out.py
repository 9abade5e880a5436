"""Rows left out under `on_bad_row`: the messages, and the file that lists them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

LEFT_OUT = "left_out_rows.jsonl"


@dataclass(frozen=True)
class LeftOut:
    """A row that was left out, and why."""

    file: str
    line: int
    code: str
    message: str


def write_left_out(rows: Sequence[LeftOut], folder: Path) -> None:
    """Write the left-out rows, one JSON object per line."""
    lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    (folder / LEFT_OUT).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def list_left_out(rows: Sequence[LeftOut], folder: Path, *, goes_on: bool) -> None:
    """Write the left-out rows; `goes_on`: append to those of a stream, which are listed as it reads them."""
    if not goes_on:
        write_left_out(rows, folder)
        return
    listed = LeftOutFile(folder)
    for row in rows:
        listed.add(row)


class LeftOutFile:
    """The list of a stream's left-out rows, each once, shared by all its processes.

    A resumed run appends to the rows listed before.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEFT_OUT
        self._listed: set[tuple[str, int]] = set()
        self._read = 0

    def rows(self) -> int:
        """The number of listed rows."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                self._take(file)
        return len(self._listed)

    def add(self, row: LeftOut) -> bool:
        """List a row; return whether it is new."""
        if (row.file, row.line) in self._listed:
            return False
        with self.path.open("a+b") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.lockf(file, fcntl.LOCK_EX)
            self._take(file)
            if (row.file, row.line) in self._listed:
                return False
            file.write(json.dumps(asdict(row), ensure_ascii=False).encode() + b"\n")
            file.flush()
            self._take(file)
        return True

    def _take(self, file: IO[bytes]) -> None:
        """Read what was listed since the last read."""
        file.seek(self._read)
        for line in file:
            one = json.loads(line)
            self._listed.add((one["file"], one["line"]))
        self._read = file.tell()
