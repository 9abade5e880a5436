"""Encodings of text files: byte order marks, and what to say of bytes that are not UTF-8."""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path

from ptspec.data.readers.compression import open_binary
from ptspec.data.readers.placed import Unreadable, shown

BOM = codecs.BOM_UTF8
UTF_8 = "utf-8-sig"

_MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Those of UTF-32 first: one of them begins like one of UTF-16."""

_RARE = 0.3
"""The share of bytes beyond ASCII from which a text is hardly Western, as CP1252 is."""


def encoding_of(beginning: bytes) -> str:
    """The encoding that the byte order mark of a file tells; UTF-8 without one."""
    return next((name for mark, name in _MARKS if beginning.startswith(mark)), UTF_8)


def undecodable(path: Path, number: int, line: bytes, error: UnicodeDecodeError) -> Unreadable:
    """The fault of line `number`, which is not UTF-8: the byte, its place, and how to convert the file."""
    column = len(line[: error.start].decode().removeprefix("\ufeff")) + 1
    likely = _likely(line)
    reason = f"not valid UTF-8: byte 0x{line[error.start]:02X}"
    if likely is None:
        hint = "find out the file's encoding, and convert it to UTF-8 with iconv"
        return Unreadable(path, number, column, reason, hint)
    reason += f"; the file is likely {likely}"
    return Unreadable(path, number, column, reason, conversion(path, likely))


def conversion(path: Path, encoding: str) -> str:
    """The shell command that writes `path` as UTF-8."""
    readers = {".gz": "gzip -dc", ".zst": "zstd -dc"}
    name, suffix = Path(shown(path)), path.suffix.lower()
    plain = name.with_suffix("") if suffix in readers else name
    out = shlex.quote(str(plain.with_suffix(f".utf8{plain.suffix}")))
    convert, file = f"iconv -f {encoding.upper()} -t UTF-8", shlex.quote(str(name))
    if suffix in readers:
        return f"{readers[suffix]} {file} | {convert} > {out}"
    return f"{convert} {file} > {out}"


def first_undecodable(path: Path) -> Unreadable | None:
    """The first byte of a file that is not UTF-8."""
    with open_binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return undecodable(path, number, line, error)
    return None


def _likely(line: bytes) -> str | None:
    if (marked := encoding_of(line)) != UTF_8:
        return marked
    beyond = sum(byte >= 0x80 for byte in line)
    if beyond > 1 and beyond > _RARE * len(line):
        return None
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return "cp1252"
