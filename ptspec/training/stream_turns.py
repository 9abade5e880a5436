"""Which reader of a stream gives a row of a training, and which process takes it.

A stage keeps the readers that it began with, one for each process that it had then, and takes their rows in
turns. So its steps learn from the same rows whatever the number of processes that go on with it: one process
asks several readers, or several processes ask the same one, each of them for its own part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Turns:
    """`readers` give `rows` rows each in turn.

    Of what they give from row number `begin` on, `processes` take `batch` rows each in turn."""

    readers: int
    rows: int
    processes: int
    batch: int
    begin: int = 0

    @property
    def at_once(self) -> int:
        """The rows that all processes take together in a pass."""
        return self.processes * self.batch

    def reader(self, row: int) -> int:
        return row // self.rows % self.readers

    def process(self, row: int) -> int:
        return (row - self.begin) // self.batch % self.processes

    def readers_of(self, process: int) -> list[int]:
        """The readers that `process` asks."""
        return sorted({reader for reader, taker in self._pairs() if taker == process})

    def kept_by(self, process: int) -> list[int]:
        """The readers whose place `process` writes down: each is written by one of those that ask it."""
        first: dict[int, int] = {}
        for reader, taker in self._pairs():
            first[reader] = min(taker, first.get(reader, taker))
        return sorted(reader for reader, taker in first.items() if taker == process)

    def _pairs(self) -> set[tuple[int, int]]:
        """Each reader with each process that it gives rows to."""
        all_over = math.lcm(self.readers * self.rows, self.at_once)
        rows = range(self.begin, self.begin + all_over)
        return {(self.reader(row), self.process(row)) for row in rows}
