"""Split a large file into ranges of whole lines for several processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ptspec.data.readers.compression import kind_of
from ptspec.data.readers.selection import is_whole
from ptspec.recipe.sources import Source

BIG = 64 << 20
"""Bytes from which a source is split."""
RANGE = 16 << 20
"""Bytes per task."""
MOST = 4
"""Maximum number of processes."""

Range = tuple[Path, int, int]
Found = TypeVar("Found")


def ranges(source: Source) -> list[Range]:
    """Return the ranges of a source's files that processes can read independently, in file order.

    [] if nothing is gained: small files, other formats, a selection of rows, one processor, or a system that
    cannot fork safely (forks share the hash seed, and what this process has loaded).
    """
    paths = source.paths
    lines = all(kind_of(path) in (".jsonl", ".ndjson") and path.suffix == kind_of(path) for path in paths)
    if not lines or not is_whole(source) or _processors() < 2 or not _forks():
        return []
    try:
        if sum(path.stat().st_size for path in paths) < BIG:
            return []
        return [part for path in paths for part in _ranges(path)]
    except OSError:
        return []


def shared_out(work: Callable[[Range], Found], parts: Sequence[Range]) -> Iterator[Found]:
    """Yield what `work` returns for each of `parts`, in order; it runs in forks of this process."""
    # Imported for large files only: the import takes longer than a small file.
    import multiprocessing

    global _work
    _work = work
    context = multiprocessing.get_context("fork")
    with context.Pool(min(_processors(), MOST, len(parts))) as pool:
        yield from pool.imap(_run, parts)


_work: Callable[[Range], object]


def _run(part: Range) -> object:
    return _work(part)


def _forks() -> bool:
    """Return whether forking is safe.

    On macOS system libraries may crash in a fork, so Python spawns there.
    """
    return hasattr(os, "fork") and sys.platform != "darwin"


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ranges(path: Path) -> Iterator[Range]:
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = 0
        while begin < size:
            file.seek(begin + RANGE)
            file.readline()
            end = min(file.tell(), size)
            yield path, begin, end
            begin = end
