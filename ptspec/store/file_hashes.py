"""SHA-256 of files, each computed once per process; of large files once per boot of the machine.

A file counts as unchanged while device, inode, size and modification time are the same, so that a renamed
file is recognised. For hashes of another process the path and the change time (ctime) must be the same too.
`read_hash` always reads, to find damage that none of these shows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ptspec.diagnostics import InputError
from ptspec.recipe.paths import cache_home
from ptspec.store.files import hash_file, hash_files, read_json

LARGE = 16 << 20
"""Bytes from which a file's hash is kept for other processes; smaller files are read quickly."""

CLOCK_STEP = 20_000_000
"""Nanoseconds; two writes within one step of the kernel's clock may have equal times."""

SECOND = 1_000_000_000
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Stamp:
    """File metadata that changes with the contents; times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int


_read: dict[Stamp, str] = {}
_read_together: dict[tuple[Stamp, ...], str] = {}


def known_hash(path: Path) -> str:
    """Return the SHA-256 of a file, cached in this process and, for large files, on this machine."""
    status = path.stat()
    found = _read.get(_stamp(status)) or _remembered(path, status)
    if found is None:
        return read_hash(path)
    _read[_stamp(status)] = found
    _remember(path, status, found)
    return found


def known_content(paths: Sequence[Path]) -> str:
    """Return the SHA-256 over the bytes of files, in order, cached in this process."""
    if len(paths) == 1:
        return known_hash(paths[0])
    before = [path.stat() for path in paths]
    stamps = tuple(map(_stamp, before))
    if (known := _read_together.get(stamps)) is not None:
        return known
    settled = all(_settled(status) for status in before)
    found = hash_files(paths)
    if settled and stamps == tuple(_stamp(path.stat()) for path in paths):
        _read_together[stamps] = found
    return found


def read_hash(path: Path) -> str:
    """Return the SHA-256 of a file without any cache."""
    before = path.stat()
    settled = _settled(before)
    found = hash_file(path)
    after = path.stat()
    _read.pop(_stamp(after), None)
    if settled and _stamp(before) == _stamp(after):
        _read[_stamp(after)] = found
        _remember(path, after, found)
    return found


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _settled(status: os.stat_result) -> bool:
    """Wait until a later write would get another modification time.

    Returns False if that cannot be ensured: the file system stores whole seconds, or its clock is ahead of
    ours.
    """
    age = time.time_ns() - status.st_mtime_ns
    if status.st_mtime_ns % SECOND == 0:
        return age > 2 * SECOND
    if 0 <= age < CLOCK_STEP:
        time.sleep((CLOCK_STEP - age) / SECOND)
    return age >= 0


def _remembered(path: Path, status: os.stat_result) -> str | None:
    """Return the hash of a large file that another process computed since boot."""
    file = _entry(path, status)
    if file is None:
        return None
    try:
        entry = read_json(file)
    except InputError:
        return None
    sha256 = entry.pop("sha256", None)
    return sha256 if isinstance(sha256, str) and entry == _described(path, status) else None


def _remember(path: Path, status: os.stat_result, sha256: str) -> None:
    """Store the hash of a large file for other processes, if the cache can be written."""
    described, entry = _described(path, status), _entry(path, status)
    if entry is None:
        return
    with contextlib.suppress(OSError, InputError):
        if entry.exists() and read_json(entry) == {**described, "sha256": sha256}:
            return
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        beside = entry.with_name(f".{entry.name}.{os.getpid()}")
        beside.write_text(json.dumps({**described, "sha256": sha256}), encoding="utf-8")
        beside.replace(entry)


def _described(path: Path, status: os.stat_result) -> dict[str, object]:
    """Return everything that must be equal for a stored hash to be valid.

    Includes the boot: a power loss may change contents, and device numbers change with it.
    """
    return {
        "path": os.path.realpath(path),
        **asdict(_stamp(status)),
        "ctime_ns": status.st_ctime_ns,
        "boot": _boot(),
    }


def _entry(path: Path, status: os.stat_result) -> Path | None:
    """Return the cache file for `path`; None for small files, or without a home folder."""
    folder = cache_folder()
    if status.st_size < LARGE or _boot() is None or not folder.is_absolute():
        return None
    return folder / f"{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]}.json"


def cache_folder() -> Path:
    """Return the folder with hashes of large files, shared by processes."""
    return cache_home() / "hashes"


@cache
def _boot() -> str | None:
    """Return an identifier of this boot of the machine; None if the system has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip() or None
    except OSError:
        return None
