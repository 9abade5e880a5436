"""Open data files as bytes, decompressing `.gz` and `.zst`."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location

COMPRESSIONS = (".gz", ".zst")


def kind_of(path: Path) -> str:
    """Return the format's suffix, ignoring a final `.gz` or `.zst`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, decompressed, within the context. Raises those of `read_errors`."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as file:
            yield cast("IO[bytes]", file)
    elif suffix == ".zst":
        with path.open("rb") as raw, _zstandard(path).ZstdDecompressor().stream_reader(raw) as file:
            yield io.BufferedReader(file)
    else:
        with path.open("rb") as file:
            yield file


def _zstandard(path: Path) -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        message = "a .zst file needs the package zstandard: pip install zstandard, or decompress the file"
        raise InputError(Diagnostic("missing-package", message, Location(shown(path)))) from None


def read_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of reading a damaged or missing file."""
    return (OSError, EOFError, zlib.error, *_zstandard_errors())


def _zstandard_errors() -> tuple[type[Exception], ...]:
    module = sys.modules.get("zstandard")
    return (module.ZstdError,) if module else ()
