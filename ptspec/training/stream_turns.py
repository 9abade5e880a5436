"""Assign the rows of a stream's readers to processes.

A stage keeps the readers that it started with, one per process at that time, and takes their rows in turns.
Its steps then learn from the same rows with any number of processes: one process reads several readers, or
several processes share one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Turns:
    """`readers` give `rows` rows each in turn.

    From row number `begin` on, `processes` take `batch` rows each in turn.
    """

    readers: int
    rows: int
    processes: int
    batch: int
    begin: int = 0

    @property
    def at_once(self) -> int:
        """Rows that all processes take together in a pass."""
        return self.processes * self.batch

    def reader(self, row: int) -> int:
        """Return the reader of a row."""
        return row // self.rows % self.readers

    def process(self, row: int) -> int:
        """Return the process that takes a row."""
        return (row - self.begin) // self.batch % self.processes

    def readers_of(self, process: int) -> list[int]:
        """Return the readers that `process` uses."""
        return sorted({reader for reader, taker in self._pairs() if taker == process})

    def kept_by(self, process: int) -> list[int]:
        """Return the readers whose position `process` stores: one of the processes that use each."""
        first: dict[int, int] = {}
        for reader, taker in self._pairs():
            first[reader] = min(taker, first.get(reader, taker))
        return sorted(reader for reader, taker in first.items() if taker == process)

    def _pairs(self) -> set[tuple[int, int]]:
        """Return each reader with each process that takes its rows."""
        all_over = math.lcm(self.readers * self.rows, self.at_once)
        rows = range(self.begin, self.begin + all_over)
        return {(self.reader(row), self.process(row)) for row in rows}
