"""Where in a stream of rows a training is: written into checkpoints, so that a stage goes on with the very
next row without reading those before.

A trainer reads batches ahead of those that it has learned from, so the places after the last batches are
kept, by the number of rows that its preparation (tokens, truncation, packing) has made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import IterableDataset
from datasets.iterable_dataset import _BaseExamplesIterable

from ptspec.data.stream.dataset import StreamWatch
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.store.files import read_json, write_json

AHEAD = 8
"""Batches that are read ahead, at most, beside those of two steps."""


class Recorded(_BaseExamplesIterable):  # type: ignore[misc]  # datasets has no types
    """Rows as a trainer has prepared them; tells `log` the place after every batch."""

    def __init__(self, rows: Any, log: StreamPlace) -> None:
        super().__init__()
        self.rows, self.log = rows, log

    def _init_state_dict(self) -> Any:
        self._state_dict = self.rows._init_state_dict()
        return self._state_dict

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        log, number = self.log, self.log.begin_rows
        self._init_state_dict()
        if log.begin_state is not None:
            self.rows.load_state_dict(log.begin_state)
        log.watch.fruitless = 0
        for number, row in enumerate(self.rows, start=log.begin_rows + 1):
            log.watch.fruitless = 0
            if number % log.batch == 0:
                log.add(number, self.rows.state_dict())
            yield row

    @property
    def num_shards(self) -> int:
        shards: int = self.rows.num_shards
        return shards

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> Recorded:
        return Recorded(self.rows.shard_data_sources(num_shards, index, contiguous=contiguous), self.log)

    def shuffle_data_sources(self, generator: object) -> Recorded:
        return self

    @property
    def sleep_on_threads_shutdown(self) -> bool:
        return False


class StreamPlace:
    """The place of `trainer`, whose training set is a stream, in it."""

    def __init__(self, trainer: Any, watch: StreamWatch, checkpoint: Path | None) -> None:
        """Goes on from the place in `checkpoint`, or from the beginning. Raises `InputError` where that was
        written by another number of processes."""
        self.watch, self.trainer = watch, trainer
        args = trainer.args
        self.batch = args.per_device_train_batch_size
        self.rows_a_step = self.batch * args.gradient_accumulation_steps
        self.begin_rows, self.begin_state = 0, None
        if trainer.train_dataset.num_shards < args.world_size:
            raise ValueError(
                f"a stream for {trainer.train_dataset.num_shards} processes, of {args.world_size}"
            )
        self._places: deque[tuple[int, Any]] = deque(maxlen=2 * args.gradient_accumulation_steps + AHEAD)
        if checkpoint is not None:
            stored = self._stored(checkpoint)
            self.begin_rows, self.begin_state = stored["rows"], stored["state"]
            self.add(self.begin_rows, self.begin_state)
            args.ignore_data_skip = True
        trainer.train_dataset = IterableDataset(
            ex_iterable=Recorded(trainer.train_dataset._ex_iterable, self)
        )

    def add(self, rows: int, state: Any) -> None:
        self._places.append((rows, state))

    def store(self, folder: Path, step: int) -> None:
        """Writes the place after `step` steps into a checkpoint."""
        rows = step * self.rows_a_step
        state = next(state for number, state in reversed(self._places) if number == rows)
        world = self.trainer.args.world_size
        write_json(
            folder / _file(self.trainer.args.process_index),
            {"rows": rows, "processes": world, "state": state},
        )

    def _stored(self, checkpoint: Path) -> dict[str, Any]:
        file = checkpoint / _file(self.trainer.args.process_index)
        world = self.trainer.args.world_size
        if not file.is_file():
            raise InputError(_of_other_processes(checkpoint, "another number of processes", world))
        stored: dict[str, Any] = read_json(file)
        if stored["processes"] != world:
            raise InputError(_of_other_processes(checkpoint, _processes(stored["processes"]), world))
        return stored


def _of_other_processes(checkpoint: Path, before: str, now: int) -> Diagnostic:
    message = f"{checkpoint.name} was written by {before}; {_processes(now)} cannot go on with its stream"
    hint = "as many processes as before go on from it; --fresh begins anew"
    return Diagnostic("stream-of-other-processes", message, Location(str(checkpoint)), hint=hint)


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def _file(process: int) -> str:
    return f"place_in_stream_{process}.json"
