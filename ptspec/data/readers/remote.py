"""Files at fsspec addresses (s3://, gs://, hf://, https://, memory://, …)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar

from ptspec.data.readers.compression import kind_of
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, first_line
from ptspec.recipe import paths as recipe_paths
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import DATA_FORMATS, GLOB
from ptspec.recipe.sources import Source

One = TypeVar("One")

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
"""Protocols whose package an extra of ptspec installs."""


def is_address(path: Path) -> bool:
    """Return whether a row's `path` is a file at an address."""
    return not path.is_absolute() and recipe_paths.is_address(shown(path))


def lacking(address: str) -> tuple[str, str | None] | None:
    """Return the missing package of `address`, and a hint; None if none is missing. Connects to nothing."""
    import fsspec

    protocol = address.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        return (
            f"{protocol}:// needs a package: {first_line(error)}",
            f'pip install "ptspec[{extra}]"' if extra else None,
        )
    except ValueError:
        known = "s3://, gs://, az://, hf://, https://, memory://"
        return (
            f'fsspec does not support addresses that begin with "{protocol}://"',
            f"known are {known} and others",
        )
    return None


def files_at(source: Source) -> tuple[Path, ...]:
    """Return the data files at the addresses of `source`, as paths of its rows, sorted.

    Raises `InputError` if there are none or they cannot be reached.
    """
    return _files_at(source.addresses, source.at) if source.addresses else ()


@lru_cache(maxsize=64)
def _files_at(addresses: tuple[str, ...], at: str) -> tuple[Path, ...]:
    found = [file for address in addresses for file in _told(at, address, lambda: _listed(address))]  # noqa: B023
    return tuple(Path(file) for file in dict.fromkeys(found))


def _listed(address: str) -> list[str]:
    import fsspec

    system, path = fsspec.core.url_to_fs(address)
    if GLOB.search(address):
        names = system.glob(path)
    # exists() and isdir() return False if the address cannot be reached; info() raises.
    elif system.info(path)["type"] == "directory":
        names = [one for one in system.ls(path, detail=False) if kind_of(Path(one)) in DATA_FORMATS]
    else:
        names = [path]
    if not names:
        raise FileNotFoundError
    return sorted(system.unstrip_protocol(name) for name in names)


def size_of(source: Source, path: Path) -> int:
    """Return the bytes of a file, local or at an address."""
    if not is_address(path):
        return path.stat().st_size
    return int(_info(source, path).get("size") or 0)


def stamp_of(source: Source, path: Path) -> list[Any]:
    """Return values that change with the file at an address: size, and its store's version."""
    info = _info(source, path)
    told = next(
        (
            info[key]
            for key in ("ETag", "etag", "sha256", "mtime", "LastModified", "created")
            if info.get(key)
        ),
        None,
    )
    return [info.get("size"), None if told is None else str(told)]


def _info(source: Source, path: Path) -> dict[str, Any]:
    import fsspec

    def look() -> dict[str, Any]:
        system, name = fsspec.core.url_to_fs(shown(path))
        found: dict[str, Any] = system.info(name)
        return found

    return _told(source.at, shown(path), look)


@contextmanager
def open_file(source: Source, path: Path) -> Iterator[IO[bytes]]:
    """Open a file, local or at an address, as seekable bytes within the context."""
    if not is_address(path):
        with path.open("rb") as file:
            yield file
        return
    import fsspec

    with _told(source.at, shown(path), lambda: fsspec.open(shown(path), "rb").open()) as file:
        yield file


def local_copy(source: Source, path: Path) -> Path:
    """Return a copy of the file at an address, under its name, kept until this process ends."""
    import fsspec

    address = shown(path)
    folder = Path(_copies().name) / hashlib.sha256(address.encode()).hexdigest()[:16]
    kept = {"same_names": True, "cache_storage": str(folder)}
    copy = _told(source.at, address, lambda: fsspec.open_local(f"simplecache::{address}", simplecache=kept))
    return Path(str(copy))


@cache
def _copies() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="ptspec-")


def _told(at: str, address: str, work: Callable[[], One]) -> One:
    """Return what `work` returns; raise the exceptions of any file system library as `InputError`."""
    try:
        return work()
    except InputError:
        raise
    except Exception as error:
        missing = lacking(address)
        if missing is not None:
            message, hint = missing
            raise InputError(
                Diagnostic("missing-package", message, pointer=join(at, "path"), hint=hint)
            ) from error
        if isinstance(error, FileNotFoundError):
            message = f'no file with rows at "{address}"'
            raise InputError(Diagnostic("no-such-data", message, pointer=join(at, "path"))) from error
        message = f'"{address}" cannot be read: {type(error).__name__}: {first_line(error)}'
        raise InputError(Diagnostic("unreadable-dataset", message, pointer=join(at, "path"))) from error
