"""The position of training in a stream of rows, stored in checkpoints.

A resumed stage continues with the next row without reading those before, with the same or another number of
processes. A trainer prefetches batches, so the positions after the last steps are kept, by the number of rows
that preparation (tokenising, truncation, packing) has made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from datasets import IterableDataset
from datasets.iterable_dataset import _BaseExamplesIterable

from ptspec.data.stream.dataset import StreamWatch
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.store.files import read_json, write_json
from ptspec.training.stream_turns import Turns

AHEAD = 10
"""Steps that a trainer prefetches, at most."""


class Taken(_BaseExamplesIterable):  # type: ignore[misc]  # datasets has no types
    """The prepared rows that one process takes; reports its readers' positions to `log` after each step."""

    def __init__(self, rows: Any, log: StreamPlace, process: int = 0) -> None:
        super().__init__()
        self.rows, self.log, self.process = rows, log, process

    def _init_state_dict(self) -> dict[str, Any]:
        self._state_dict: dict[str, Any] = {}  # the position is in the checkpoint
        return self._state_dict

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        turns, watch = self.log.turns, self.log.watch
        readers = {number: self._reader(number) for number in turns.readers_of(self.process)}
        given = {number: iter(reader) for number, reader in readers.items()}
        watch.fruitless = 0
        for begin in count(turns.begin, turns.at_once):
            mine = []
            for row in range(begin, begin + turns.at_once):
                if (reader := turns.reader(row)) in given:
                    prepared = next(given[reader])
                    watch.fruitless = 0
                    if turns.process(row) == self.process:
                        mine.append(prepared)
            if (begin + turns.at_once - turns.begin) % self.log.rows_a_step == 0:
                places = {number: reader.state_dict() for number, reader in readers.items()}
                self.log.add(begin + turns.at_once, places)
            yield from mine

    def _reader(self, number: int) -> Any:
        reader = self.rows.shard_data_sources(self.log.turns.readers, number)
        reader._init_state_dict()
        if (place := self.log.place_of(number)) is not None:
            reader.load_state_dict(place)
        return reader

    @property
    def num_shards(self) -> int:
        """The number of processes."""
        return self.log.turns.processes

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> Taken:
        """Return the rows of process `index`."""
        return Taken(self.rows, self.log, index)

    def shuffle_data_sources(self, generator: object) -> Taken:
        """Return self: the order is fixed already."""
        return self

    @property
    def sleep_on_threads_shutdown(self) -> bool:
        """Return False: there are no threads to wait for."""
        return False


class StreamPlace:
    """The position of `trainer` in its stream of rows."""

    def __init__(self, trainer: Any, watch: StreamWatch, checkpoint: Path | None) -> None:
        """Continue from the position in `checkpoint`, or start at the beginning.

        Raises `InputError` if the checkpoint has none.
        """
        self.watch = watch
        args = trainer.args
        batch, world = args.per_device_train_batch_size, args.world_size
        self.turns = Turns(readers=world, rows=batch, processes=world, batch=batch)
        self.process, self.checkpoint, self.begin_step = args.process_index, checkpoint, 0
        if checkpoint is not None:
            stored = _stored(checkpoint, 0)
            self.turns = Turns(stored["readers"], stored["in_turn"], world, batch, stored["rows"])
            self.begin_step = stored["step"]
            args.ignore_data_skip = True
        self.rows_a_step = self.turns.at_once * args.gradient_accumulation_steps
        self._places: deque[tuple[int, Mapping[int, Any]]] = deque(maxlen=AHEAD)
        trainer.train_dataset = IterableDataset(ex_iterable=Taken(trainer.train_dataset._ex_iterable, self))

    def place_of(self, reader: int) -> Any:
        """Return the position where `reader` continues; None for its beginning."""
        return None if self.checkpoint is None else _stored(self.checkpoint, reader)["state"]

    def add(self, rows: int, places: Mapping[int, Any]) -> None:
        """Record readers' positions after so many rows."""
        self._places.append((rows, places))

    def store(self, folder: Path, step: int) -> None:
        """Write the position after `step` steps to a checkpoint."""
        rows = self.turns.begin + (step - self.begin_step) * self.rows_a_step
        if step == self.begin_step:
            places = {reader: self.place_of(reader) for reader in self.turns.kept_by(self.process)}
        else:
            places = dict(next(places for number, places in self._places if number == rows))
        for reader in self.turns.kept_by(self.process):
            about = {"step": step, "rows": rows, "readers": self.turns.readers, "in_turn": self.turns.rows}
            write_json(folder / _file(reader), {**about, "state": places[reader]})


def _stored(checkpoint: Path, reader: int) -> dict[str, Any]:
    """Return the position of `reader` in `checkpoint`, and the values common to all."""
    file = checkpoint / _file(reader)
    if not file.is_file():
        message = f"{checkpoint.name} does not say where in the stream it was written"
        hint = "another version of ptspec wrote it; --fresh begins anew"
        raise InputError(Diagnostic("no-place-in-stream", message, Location(str(checkpoint)), hint=hint))
    stored: dict[str, Any] = read_json(file)
    return stored


def _file(reader: int) -> str:
    return f"reader_of_stream_{reader}.json"
