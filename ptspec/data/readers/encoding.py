"""Encodings of text files: byte order marks, and what to say of bytes that are not UTF-8."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path

from ptspec.data.readers.compression import open_binary
from ptspec.data.readers.placed import Unreadable, shown

BOM = codecs.BOM_UTF8
UTF_8 = "utf-8-sig"
CP1252 = "cp1252"

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

_IN_WORDS = re.compile(rb"(?<=[A-Za-z])[\x80-\x91\x93-\x9b\x9d-\x9f](?=[A-Za-z])")
"""What is punctuation in CP1252, within a word; without its apostrophe and the ligature of oe."""
_LETTERS = re.compile(rb"[\xc0-\xff]")


def encoding_of(beginning: bytes) -> str:
    """The encoding that the byte order mark of a file tells; UTF-8 without one."""
    return next((name for mark, name in _MARKS if beginning.startswith(mark)), UTF_8)


def likely_encoding_of(beginning: bytes, *, is_whole: bool) -> str:
    """The encoding of a spreadsheet's text file: what its byte order mark tells, UTF-8, or CP1252, in which
    Excel saves "CSV" on a Western Windows.

    CP1252 only where no line is UTF-8 with more than ASCII (of a file of both, the first line that is not
    UTF-8 is an error), and where the bytes beyond ASCII are letters as they are in CP1252 and not, as in the
    encodings of MS-DOS and of old Macs, its quotes and dashes in the middle of words. `is_whole`: whether
    `beginning` does not end within a line.
    """
    if (marked := encoding_of(beginning)) != UTF_8:
        return marked
    lines = beginning.split(b"\n")
    beyond = [line for line in (lines if is_whole else lines[:-1]) if not line.isascii()]
    if not beyond or any(map(_is_utf8, beyond)):
        return UTF_8
    text = b"\n".join(beyond)
    is_western = _likely(text) == CP1252 and len(_IN_WORDS.findall(text)) <= len(_LETTERS.findall(text))
    return CP1252 if is_western else UTF_8


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


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
    return CP1252
