"""Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.data.readers.placed import PlacedRow, Unreadable


def read_parquet(path: Path) -> Iterator[PlacedRow | Unreadable]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield PlacedRow(path, number, row)
    except (pyarrow.ArrowException, ValueError) as error:
        what = "cannot be read from here on" if number else "not a Parquet file"
        yield Unreadable(path, number + 1, None, f"{what}: {error}")
