"""A source of the plan as the `datasets.IterableDataset` of a TRL trainer.

Order of rows and resuming are implemented here; maps, filters, packing and their positions by `datasets`,
whose `state_dict` contains ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets import IterableDataset
from datasets.iterable_dataset import _BaseExamplesIterable

from ptspec.data.dataset import Encode, Loading, form
from ptspec.data.exact_json import Table
from ptspec.data.left_out import LeftOut
from ptspec.data.stream.order import Entry, InPieces, Mixed, Order, Part, State
from ptspec.data.stream.pieces import Piece, pieces_of
from ptspec.data.stream.rows import Converter
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.methods.types import Rows
from ptspec.recipe.sources import AnySource, Concat, Mix, Source

FRUITLESS = 20_000
"""Consecutive rows dropped by a trainer after which a stage is ended."""


@dataclass(frozen=True)
class Share:
    """One reader's share of rows: `batch` rows are the first reader's, the next the second's, and so on.

    A step then learns from the rows that a single reader would give.
    """

    reader: int = 0
    readers: int = 1
    batch: int = 1

    def holds(self, number: int) -> bool:
        """Return whether row `number` is this reader's."""
        return number // self.batch % self.readers == self.reader


@dataclass
class StreamWatch:
    """Reports on a stream: `used_up` after all rows were read; rows left out.

    `fruitless`: rows since the trainer kept one; None if the trainer does not report it.
    """

    used_up: Callable[[str], None] = lambda text: None
    left_out: Callable[[LeftOut], None] = lambda row: None
    fruitless: int | None = None

    def handed(self, pointer: str) -> None:
        """Count a row given to the trainer. Raises `InputError` if it keeps none of too many."""
        if self.fruitless is None:
            return
        self.fruitless += 1
        if self.fruitless > FRUITLESS:
            message = (
                f"of {FRUITLESS:,} rows, one after the other, none is left: each is longer than max_length"
            )
            raise InputError(Diagnostic("no-rows-left", message, pointer=pointer, hint="raise max_length"))


def stream(
    data: Mapping[str, AnySource],
    name: str,
    rows: Rows,
    seed: int,
    loading: Loading,
    share: Share = Share(),
    watch: StreamWatch | None = None,
) -> IterableDataset:
    """Return the rows of `data[name]` in TRL's columns for `rows`, endless, read on demand.

    `shard` distributes them to several readers, in turns of as many rows as `share` says. Raises `InputError`
    if a source cannot be opened, and while reading for an unusable row.
    """
    watch = watch or StreamWatch()
    source = data[name]
    parts = [source] if isinstance(source, Source) else [data[part] for part in source.parts]
    readers = [_Reader(part, rows, loading, watch) for part in parts if isinstance(part, Source)]
    examples = StreamedRows(
        _order(source, readers, seed, rows, watch),
        {reader.source.name: reader.converter for reader in readers},
        share,
        watch,
        _encode(readers, loading),
    )
    return IterableDataset(ex_iterable=examples)


class _Reader:
    """An opened source: its pieces, and their conversion to rows."""

    def __init__(self, source: Source, rows: Rows, loading: Loading, watch: StreamWatch) -> None:
        self.source = source
        self.pieces: list[Piece] = pieces_of(source)
        self.converter = Converter(source, self.pieces, rows, loading, watch.left_out)

    def part(self, fraction: float = 1.0) -> Part:
        return Part(self.source, self.pieces, fraction, self.converter.halves)

    def form(self) -> tuple[str, ...]:
        table = Table()
        if (first := self.converter.first(self.pieces)) is not None:
            table.add(first)
        return form(table.kinds)


def _order(source: AnySource, readers: Sequence[_Reader], seed: int, rows: Rows, watch: StreamWatch) -> Order:
    # KTOTrainer mismatches neighbours for its reference point: the halves of a pair must not be some.
    is_unpaired = rows is Rows.UNPAIRED_PREFERENCE

    def used_up(names: Sequence[str], count: int) -> None:
        listed = ", ".join(f'"{name}"' for name in names)
        watch.used_up(f"the {count:,} rows of {listed} have been read through; they are read again")

    if isinstance(source, Mix):
        pieces = {
            reader.source.name: InPieces(
                [reader.part()], seed, shuffles=reader.source.shuffle or is_unpaired, used_up=used_up
            )
            for reader in readers
        }
        return Mixed(pieces, source.weights, seed)
    if isinstance(source, Concat):
        parts = [reader.part(source.fractions[reader.source.name]) for reader in readers]
        return InPieces(parts, seed, shuffles=True, used_up=used_up)
    shuffles = source.shuffle or is_unpaired
    return InPieces([reader.part() for reader in readers], seed, shuffles=shuffles, used_up=used_up)


def _encode(readers: Sequence[_Reader], loading: Loading) -> Encode | None:
    """Return a tokeniser of rows if sources differ in form and the trainer accepts one form only."""
    if loading.encode is None or len(readers) < 2:
        return None
    return loading.encode if len({reader.form() for reader in readers}) > 1 else None


class StreamedRows(_BaseExamplesIterable):  # type: ignore[misc]  # datasets has no types
    """The rows of an order that one reader gives.

    Its state is the position in the order, and how many rows it gives in turn.
    """

    def __init__(
        self,
        order: Order,
        converters: Mapping[str, Converter],
        share: Share,
        watch: StreamWatch,
        encode: Encode | None,
    ) -> None:
        super().__init__()
        self.order, self.converters, self.share = order, converters, share
        self.watch, self.encode = watch, encode

    def _init_state_dict(self) -> State:
        counts = {name: {"read": 0, "bad": 0} for name in self.converters}
        place = {"number": 0, "order": self.order.begin(), "counts": counts}
        self._state_dict: State = {**place, "batch": self.share.batch}
        return self._state_dict

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        state = self._state_dict or self._init_state_dict()
        share = replace(self.share, batch=state["batch"])
        for entry in self.order.entries(state["order"]):
            number = state["number"]
            state["number"] += 1
            if share.holds(number) and (row := self._row(entry, state)) is not None:
                self.watch.handed(entry.source.at)
                yield number, row

    def _row(self, entry: Entry, state: State) -> dict[str, Any] | None:
        name = entry.source.name
        row = self.converters[name].row(entry, state["counts"][name])
        if row is None or self.encode is None:
            return row
        (tokens,) = self.encode([row])
        return {"input_ids": list(tokens.ids), "labels": list(tokens.labels)}

    @property
    def num_shards(self) -> int:
        """The number of readers."""
        return self.share.readers

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> StreamedRows:
        """Return the rows of reader `index`."""
        share = replace(self.share, reader=index, readers=num_shards)
        return StreamedRows(self.order, self.converters, share, self.watch, self.encode)

    def shuffle_data_sources(self, generator: object) -> StreamedRows:
        """Return self: the source decides whether it is shuffled."""
        return self

    def reshard_data_sources(self) -> StreamedRows:
        """Return self."""
        return self

    @property
    def sleep_on_threads_shutdown(self) -> bool:
        """Return False: there are no threads to wait for."""
        return False
