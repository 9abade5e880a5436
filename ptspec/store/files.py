"""Files that are written whole or not at all, and their hashes."""

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
"""Names of the files beside, which `whole_file` renames."""

NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What a file system says that cannot flush (of folders: many under FUSE)."""


def _umask() -> int:
    """The umask; it can be read only by setting it for a moment."""
    before = os.umask(0o077)
    os.umask(before)
    return before


UMASK = _umask()


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that appears whole or not at all: written beside its place, flushed to disk, then renamed."""
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
    """Writes an open file or folder through to the disk; False where the file system has no such thing."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
        return False
    return True


def flush_folder(folder: Path) -> bool:
    """Writes the names in `folder` through to the disk; False where the file system has no such thing."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return flush_to_disk(handle)
    finally:
        os.close(handle)


def open_to_umask(path: Path) -> None:
    """Gives a file, or every file below a folder, the permissions that the umask grants: libraries that write
    through a temporary file leave it to its owner alone."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file() and not file.is_symlink():
            # Where permissions are fixed by the mount, they are not ours to give.
            with contextlib.suppress(PermissionError):
                file.chmod(stat.S_IMODE(file.stat().st_mode) | (0o666 & ~UMASK))


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Makes `target` a second name of a file (of a link: a link to the same place), or a copy where the file
    system has no second names."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def link_folder(source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
    """Gives every file below `source` a second name below `target`, which may be there; `leave_out` are names
    right below `source`."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name in leave_out] if Path(folder) == source else []

    shutil.copytree(
        source, target, symlinks=True, ignore=left_out, copy_function=link_or_copy, dirs_exist_ok=True
    )


def folder_size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def hash_file(path: Path) -> str:
    """The SHA-256 of a file."""
    return hash_files((path,))


def hash_files(paths: Iterable[Path]) -> str:
    """The SHA-256 over the bytes of files, in order, read a block at a time."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; raises `InputError` where the file is missing or damaged."""
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
    """Removes what a crash inside `whole_file` left in `folder`. Only for whoever writes there alone."""
    for path in folder.glob(".*"):
        if _BESIDE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)
