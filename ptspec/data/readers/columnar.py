"""Read Parquet and Arrow tables, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ptspec.data.readers.compression import COMPRESSIONS
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable

BATCH = 1024
"""Rows converted to Python objects at a time."""

_ARROW_FILE = b"ARROW1"


def read_parquet(path: Path) -> Iterator[Item]:
    """Yield the rows of a Parquet file."""
    return _rows(path, "Parquet", _parquet_batches)


def read_arrow(path: Path) -> Iterator[Item]:
    """Yield the rows of Arrow's IPC formats: the stream, as `datasets` saves it, and the file (Feather)."""
    return _rows(path, "Arrow", _arrow_batches)


def count_parquet(path: Path) -> int:
    """Return the number of rows from the file's footer. Raises `ValueError` if it is not Parquet."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None


def _rows(path: Path, name: str, batches: Callable[[Path], Iterator[Any]]) -> Iterator[Item]:
    import pyarrow

    if path.suffix.lower() in COMPRESSIONS:
        reason = f"a {name} file is compressed within, not as a whole"
        yield Unreadable(path, 1, None, reason, "decompress it")
        return
    number = 0
    try:
        for batch in batches(path):
            for values in batch.to_pylist():
                number += 1
                yield PlacedRow(path, number, values)
    except (pyarrow.ArrowException, ValueError) as error:
        what = (
            "cannot be read from here on" if number else f"not {'an' if name == 'Arrow' else 'a'} {name} file"
        )
        yield Unreadable(path, number + 1, None, f"{what}: {error}")


def _parquet_batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=BATCH)


def _arrow_batches(path: Path) -> Iterator[Any]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
            with pyarrow.ipc.open_file(file) as reader:
                for index in range(reader.num_record_batches):
                    yield from _cut(reader.get_batch(index))
        else:
            file.seek(0)
            with pyarrow.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield from _cut(batch)


def _cut(batch: Any) -> Iterator[Any]:
    for begin in range(0, batch.num_rows, BATCH):
        yield batch.slice(begin, BATCH)
