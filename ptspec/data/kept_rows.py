"""Rows kept on the disk by what they were made of: shared by stages, resumed runs and other runs.

`datasets` keeps what a trainer makes of rows that lie in a file (tokens, labels) beside them, by a hash of
the function, the tokenizer and the settings. So a stage that begins again, or another one with the same
rows, tokenises nothing, and holds neither in memory.

Whoever reads them holds a lock on them until it ends, which any number can hold together: what is locked is
not removed to make room.
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
"""Rows from which on they are kept: fewer are tokenised in a moment."""
KEPT_BYTES = 20 << 30
"""Of all kept rows; those not used for the longest time go first."""
KEPT_SECONDS = 30 * 24 * 3600
"""Rows that were not used for so long go, too."""
ROOM = 20
"""The bytes of rows times so many must be free: tokens are several times as large."""
UNLOCKED_SECONDS = 24 * 3600
"""Where the file system has no locks, rows that were opened so lately count as being read."""
ROWS = "rows.arrow"
_read_here: dict[Path, IO[bytes]] = {}
"""The files of rows that this process has locked."""


def folder_of_rows() -> Path:
    """Where rows are kept."""
    return cache_home() / "rows"


def kept_rows(key: str, read: Callable[[], Dataset]) -> Dataset:
    """The rows that `read` gives, from the disk where rows of this `key` are kept; else read, and kept where
    they are many and there is room."""
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
    except Exception as error:  # whatever Arrow says of a damaged file
        logging.getLogger("ptspec").warning("kept rows cannot be read, and are made again: %s", error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):
        os.utime(folder)
    return found


def _lock(folder: Path) -> bool:
    """Keeps the rows in `folder` from being removed while this process lives; False where they are being
    removed."""
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
    """Removes the rows in `folder`, last opened at the time `used`, unless somebody reads them."""
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
    shutil.rmtree(folder, ignore_errors=True)  # one that was cut off while it was written


def _write(rows: Dataset, folder: Path) -> None:
    """Written beside and renamed: a folder that is there is whole."""
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
            if not (folder / ROWS).is_file():  # else another process was quicker
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make_room(new: Path) -> None:
    """Removes rows that nobody uses any more, and the longest unused ones of too many; none that are read."""
    found = sorted(_folders(new.parent), key=lambda one: one[0], reverse=True)
    total = 0
    for used, folder in found:
        total += sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        if total > KEPT_BYTES or time.time() - used > KEPT_SECONDS:
            _remove(folder, used)


def _folders(place: Path) -> Iterator[tuple[float, Path]]:
    """The folders of kept rows, with the time of their last use."""
    if place.is_dir():
        for folder in place.iterdir():
            with suppress(OSError):
                yield folder.stat().st_mtime, folder
