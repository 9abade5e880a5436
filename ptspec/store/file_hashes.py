"""SHA-256 of files, each read once a process; of large files once a machine, until it is started anew.

A file is taken for the one that was read while device, inode, size and time of the last write are the same,
so a renamed file is known. Of what another process read, the path and the time of the last change must be
the same too. `read_hash` always reads: for whoever looks for damage, which shows in none of these.
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
"""Bytes from which on a file is remembered for other processes; smaller ones are read in a moment."""

CLOCK_STEP = 20_000_000
"""Nanoseconds: two writes within one step of the kernel's clock may leave the same time."""

SECOND = 1_000_000_000
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Stamp:
    """What changes when a file's contents do; times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int


_read: dict[Stamp, str] = {}
_read_together: dict[tuple[Stamp, ...], str] = {}


def known_hash(path: Path) -> str:
    """The SHA-256 of a file, read only where neither this process nor another one has read it before."""
    status = path.stat()
    found = _read.get(_stamp(status)) or _remembered(path, status)
    if found is None:
        return read_hash(path)
    _read[_stamp(status)] = found
    _remember(path, status, found)
    return found


def known_content(paths: Sequence[Path]) -> str:
    """The SHA-256 over the bytes of files, in order, read only where this process has not read them."""
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
    """The SHA-256 of a file, read now."""
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
    """Waits until a later write would leave another time.

    False where that cannot be known: the file system keeps whole seconds, or its clock is ahead of ours."""
    age = time.time_ns() - status.st_mtime_ns
    if status.st_mtime_ns % SECOND == 0:
        return age > 2 * SECOND
    if 0 <= age < CLOCK_STEP:
        time.sleep((CLOCK_STEP - age) / SECOND)
    return age >= 0


def _remembered(path: Path, status: os.stat_result) -> str | None:
    """What a process of this machine has read of a large file since the machine was started."""
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
    """Keeps the hash of a large file for other processes. Where no cache can be written, none is."""
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
    """All that must be the same.

    The boot: a machine that lost its power may have lost what a file held; a device's number is another after
    it, too."""
    return {
        "path": os.path.realpath(path),
        **asdict(_stamp(status)),
        "ctime_ns": status.st_ctime_ns,
        "boot": _boot(),
    }


def _entry(path: Path, status: os.stat_result) -> Path | None:
    """The file that tells other processes of `path`; None where they are told nothing: of small files, and
    where there is no home folder."""
    folder = cache_folder()
    if status.st_size < LARGE or _boot() is None or not folder.is_absolute():
        return None
    return folder / f"{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]}.json"


def cache_folder() -> Path:
    """Where the hashes of large files are kept for other processes."""
    return cache_home() / "hashes"


@cache
def _boot() -> str | None:
    """What tells one start of this machine from another; None where the system does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip() or None
    except OSError:
        return None
