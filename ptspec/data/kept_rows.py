"""A disk cache of loaded rows, shared by stages, resumed runs and other runs.

`datasets` caches what a trainer makes of rows in a file (tokens, labels) beside them, keyed by function,
tokenizer and settings. A repeated stage, or another one with the same rows, then tokenises nothing, and holds
neither in memory.

Readers hold a shared lock until they end: locked rows are not removed to make room.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from uuid import uuid4

from ptspec.recipe.paths import cache_home

if TYPE_CHECKING:
    from datasets import Dataset

WORTH = 5_000
"""Number of rows from which they are cached: fewer are tokenised quickly."""
KEPT_BYTES = 20 << 30
"""Maximum size of the cache; the least recently used rows are removed first."""
KEPT_SECONDS = 30 * 24 * 3600
"""Rows unused for this time are removed."""
ROOM = 20
"""Factor of the rows' bytes that must be free: tokens are several times as large."""
UNLOCKED_SECONDS = 24 * 3600
"""Without file locks, rows opened within this time count as being read."""
ROWS = "rows.arrow"
_read_here: dict[Path, IO[bytes]] = {}
"""The row files that this process has locked."""


def folder_of_rows() -> Path:
    """Return the cache folder."""
    return cache_home() / "rows"


def kept_rows(key: str, read: Callable[[], Dataset]) -> Dataset:
    """Return the rows of `read`, from the cache if they are stored under `key`.

    They are stored if there are many and there is room.
    """
    folder = folder_of_rows() / key
    if not folder.is_absolute():
        return read()
    if (found := _opened(folder)) is not None:
        return found
    rows = read()
    if len(rows) < WORTH:
        return rows
    try:
        _make_room(folder)
        _write(rows, folder)
    except OSError as error:
        logging.getLogger("ptspec").warning("rows are not kept for later runs: %s", error)
        return rows
    return _opened(folder) or rows


def _opened(folder: Path) -> Dataset | None:
    if (
        not (folder / ROWS).is_file()
        or shutil.disk_usage(folder).free < ROOM * (folder / ROWS).stat().st_size
    ):
        return None
    import datasets

    from ptspec.data import exact_json  # noqa: F401  # it makes the columns' type known

    if not _lock(folder):
        return None
    try:
        found: Dataset = datasets.Dataset.from_file(str(folder / ROWS))
    except Exception as error:  # Arrow raises various exceptions for a damaged file
        logging.getLogger("ptspec").warning("kept rows cannot be read, and are made again: %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):
        os.utime(folder)
    return found


def _lock(folder: Path) -> bool:
    """Lock the rows in `folder` while this process lives; return False if they are being removed."""
    try:
        file = (folder / ROWS).open("rb")
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), (folder / ROWS).stat()):
            raise FileNotFoundError
    except (BlockingIOError, FileNotFoundError):
        file.close()
        return False
    except OSError:  # the file system has no locks
        file.close()
        return True
    _read_here[folder] = file
    return True


def _remove(folder: Path, used: float) -> None:
    """Remove the rows in `folder`, last opened at the time `used`, unless they are being read."""
    with suppress(FileNotFoundError), (folder / ROWS).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # the file system has no locks
            if time.time() - used < UNLOCKED_SECONDS:
                return
        shutil.rmtree(folder, ignore_errors=True)
        return
    shutil.rmtree(folder, ignore_errors=True)  # incompletely written


def _write(rows: Dataset, folder: Path) -> None:
    """Write beside and rename: an existing folder is complete."""
    from datasets.arrow_writer import ArrowWriter

    beside = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    beside.mkdir(parents=True)
    try:
        with ArrowWriter(path=str(beside / ROWS), features=rows.features) as writer:
            for table in rows.with_format("arrow").iter(1000):
                writer.write_table(table)
            writer.finalize()
        if shutil.disk_usage(beside).free < ROOM * (beside / ROWS).stat().st_size:
            raise OSError(f"the disk of {folder.parent} has too little room")
        try:
            beside.rename(folder)
        except OSError:
            if not (folder / ROWS).is_file():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make_room(new: Path) -> None:
    """Remove expired rows, and the least recently used of too many, but none being read."""
    found = sorted(_folders(new.parent), key=lambda one: one[0], reverse=True)
    total = 0
    for used, folder in found:
        total += sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        if total > KEPT_BYTES or time.time() - used > KEPT_SECONDS:
            _remove(folder, used)


def _folders(place: Path) -> Iterator[tuple[float, Path]]:
    """Return the cached folders, with the time of their last use."""
    if place.is_dir():
        for folder in place.iterdir():
            with suppress(OSError):
                yield folder.stat().st_mtime, folder
