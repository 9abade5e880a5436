"""Atomic file writes, hard links, and file hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ptspec.diagnostics import Diagnostic, InputError, Location

_BESIDE = re.compile(r"\..+\.(json|jsonl|html|png|parquet)\.[a-z0-9_]{8}")
"""Names of temporary files, which `whole_file` renames."""

NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""Error numbers of file systems without fsync (for folders: many under FUSE)."""


def _umask() -> int:
    """Return the umask, which can only be read by setting it."""
    before = os.umask(0o077)
    os.umask(before)
    return before


UMASK = _umask()


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears whole or not at all: written beside its target, fsynced, then renamed.

    Raises `OSError`; an exception within removes the temporary file.
    """
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            flush_to_disk(file.fileno())
        open_to_umask(Path(beside))
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def flush_to_disk(handle: int) -> bool:
    """fsync an open file or folder; return False if the file system has no fsync.

    Raises other `OSError`s.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
        return False
    return True


def flush_folder(folder: Path) -> bool:
    """fsync a folder's entries; return False if the file system has no fsync."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return flush_to_disk(handle)
    finally:
        os.close(handle)


def open_to_umask(path: Path) -> None:
    """Set a file's or folder's permissions to what the umask grants.

    Libraries that write through a temporary file leave it readable by its owner only.
    """
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file() and not file.is_symlink():
            # The mount may fix permissions.
            with contextlib.suppress(PermissionError):
                file.chmod(stat.S_IMODE(file.stat().st_mode) | (0o666 & ~UMASK))


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Hard-link `target` to a file (a link: to the same place), or copy if links are not supported."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def link_folder(source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
    """Hard-link every file below `source` into `target`, which may exist, except top-level `leave_out`."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name in leave_out] if Path(folder) == source else []

    shutil.copytree(
        source, target, symlinks=True, ignore=left_out, copy_function=link_or_copy, dirs_exist_ok=True
    )


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hash_files((path,))


def hash_files(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the bytes of files, in order, reading in blocks."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON, atomically."""
    with whole_file(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises `InputError` if the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(Diagnostic("missing-file", f"there is no {path}", Location(str(path)))) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            Diagnostic("damaged-file", f"{path} cannot be read: {error}", Location(str(path)))
        ) from error
    if not isinstance(value, dict):
        raise InputError(Diagnostic("damaged-file", f"{path} holds no JSON object", Location(str(path))))
    return value


def sweep(folder: Path) -> None:
    """Remove temporary files of a crashed `whole_file` in `folder`. Only for the folder's single writer."""
    for path in folder.glob(".*"):
        if _BESIDE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
