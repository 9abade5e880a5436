"""The order of a stream's rows, and a reader's position in it as JSON-compatible values.

A stream is endless: exhausted rows start again, in another order if shuffled. Shuffling applies to the
pieces, and to the rows of a window over some of them; both depend only on seed and position, so that a reader
that starts at a position gets the same rows as one that arrives there.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from ptspec.data.stream.pieces import Piece, Raw
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.sources import Source

WINDOW = 10_000
"""Maximum rows among which a stream is shuffled."""
WINDOW_BYTES = 32 << 20
"""Maximum text held for shuffling, in bytes."""
IN_ORDER = 256
"""Rows read at once without shuffling."""
BLOCK = 1024
"""Draws of a mix from one generator."""

State = dict[str, Any]


class Entry(NamedTuple):
    """A row of `source` in the order of a stream.

    `half`: the answer of an unpaired pair; 0 for other rows.
    """

    source: Source
    piece: Piece
    raw: Raw
    half: int = 0


class Order(Protocol):
    """An order of rows with resumable positions."""

    def begin(self) -> State:
        """Return the position before the first row."""

    def entries(self, state: State) -> Iterator[Entry]:
        """Yield rows from the position `state` on, endlessly; `state` is updated after each one."""


@dataclass(frozen=True)
class Part:
    """A source with its pieces, the share of its rows, and the number of training rows per row."""

    source: Source
    pieces: Sequence[Piece]
    fraction: float = 1.0
    halves: int = 1


class _Read(NamedTuple):
    """A row, and the position after it."""

    part: Part
    piece: Piece
    raw: Raw
    at: tuple[int, int]


class InPieces:
    """The rows of one source, or of several as if they were one."""

    def __init__(
        self,
        parts: Sequence[Part],
        seed: int,
        *,
        shuffles: bool,
        used_up: Callable[[Sequence[str], int], None] = lambda names, rows: None,
    ) -> None:
        """Set up.

        `used_up` receives names and number of rows each time all were read, once for all readers.
        """
        self.parts, self.seed, self.shuffles, self.used_up = parts, seed, shuffles, used_up
        self._pieces = [(part, piece) for part in parts for piece in part.pieces]
        self._epochs_told = 0
        self._limited = any(part.source.limit is not None for part in parts)

    def begin(self) -> State:
        """Return the position before the first row."""
        return {"epoch": 0, "piece": 0, "row": 0, "entry": 0, "rows": {p.source.name: 0 for p in self.parts}}

    def entries(self, state: State) -> Iterator[Entry]:
        """Yield rows from the position `state` on, endlessly; `state` is updated after each one."""
        while True:
            reads = self._reads(state)
            while window := self._window(reads):
                halves = [(read, half) for read in window for half in range(read.part.halves)]
                for place in self._order(len(halves), state)[state["entry"] :]:
                    state["entry"] += 1
                    read, half = halves[place]
                    yield Entry(read.part.source, read.piece, read.raw, half)
                for read in window:
                    state["rows"][read.part.source.name] += 1
                state["piece"], state["row"] = window[-1].at
                state["entry"] = 0
            self._next_epoch(state)

    def _next_epoch(self, state: State) -> None:
        rows = sum(state["rows"].values())
        if not rows:
            names = ", ".join(f'"{part.source.name}"' for part in self.parts)
            raise InputError(
                Diagnostic("no-rows", f"data {names} has no rows", pointer=self.parts[0].source.at)
            )
        state.update(self.begin(), epoch=state["epoch"] + 1)
        if state["epoch"] > self._epochs_told:
            self._epochs_told = state["epoch"]
            self.used_up([part.source.name for part in self.parts], rows)

    def _reads(self, state: State) -> Iterator[_Read]:
        """Yield the rows of an epoch from the beginning of a window on."""
        # With a limit every epoch has the same rows, so the pieces stand in the same order.
        order = self._order_of_pieces(0 if self._limited else state["epoch"])
        taken = dict(state["rows"])
        begin, row = state["piece"], state["row"]
        for number in range(begin, len(order)):
            part, piece = self._pieces[order[number]]
            name, most = part.source.name, part.source.limit
            start = row if number == begin else 0
            draws = self._draws(order[number], start) if part.fraction < 1 else None
            if most is not None and taken[name] >= most:
                continue
            for at, raw in enumerate(piece.rows(start), start=start + 1):
                if draws is not None and next(draws) >= part.fraction:
                    continue
                taken[name] += 1
                yield _Read(part, piece, raw, (number, at))
                if most is not None and taken[name] >= most:
                    break

    def _window(self, reads: Iterator[_Read]) -> list[_Read]:
        most = WINDOW if self.shuffles else IN_ORDER
        found: list[_Read] = []
        size = 0
        for read in reads:
            found.append(read)
            size += read.raw.size
            if len(found) >= most or size >= WINDOW_BYTES:
                break
        return found

    def _order(self, rows: int, state: State) -> Sequence[int]:
        if not self.shuffles:
            return range(rows)
        return _shuffled(rows, f"{self.seed} {state['epoch']} {state['piece']} {state['row']}")

    def _order_of_pieces(self, epoch: int) -> Sequence[int]:
        count = len(self._pieces)
        return _shuffled(count, f"{self.seed} {epoch}") if self.shuffles else range(count)

    def _draws(self, piece: int, skipped: int) -> Iterator[float]:
        uniform = random.Random(f"{self.seed} fraction {piece}").random
        for _ in range(skipped):
            uniform()
        return iter(uniform, None)


class Mixed:
    """Rows drawn from several orders with fixed probabilities."""

    def __init__(self, parts: Mapping[str, InPieces], weights: Mapping[str, float], seed: int) -> None:
        self.parts, self.seed = parts, seed
        self._names = list(weights)
        self._bounds = list(accumulate(weights.values()))

    def begin(self) -> State:
        """Return the position before the first row."""
        return {"draws": 0, "parts": {name: part.begin() for name, part in self.parts.items()}}

    def entries(self, state: State) -> Iterator[Entry]:
        """Yield rows from the position `state` on, endlessly; `state` is updated after each one."""
        readers = {name: part.entries(state["parts"][name]) for name, part in self.parts.items()}
        while True:
            block, first = divmod(state["draws"], BLOCK)
            for name in self._drawn(block)[first:]:
                entry = next(readers[name])
                state["draws"] += 1
                yield entry

    def _drawn(self, block: int) -> list[str]:
        uniform = random.Random(f"{self.seed} mix {block}").random
        last = len(self._names) - 1
        places = (bisect(self._bounds, uniform() * self._bounds[-1]) for _ in range(BLOCK))
        return [self._names[min(place, last)] for place in places]


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: str) -> Sequence[int]:
    """Return the numbers below `count` in a seeded order.

    Of Python's generator only `random` is used, whose numbers are the same in each version.
    """
    uniform = random.Random(seed).random
    keys = [uniform() for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)
