"""Encodings of text files: byte order marks, and messages for bytes that are not UTF-8."""

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
"""Byte order marks, UTF-32's first: one of them starts like one of UTF-16."""

_RARE = 0.3
"""Share of non-ASCII bytes above which a text is hardly Western, as CP1252 is."""

_IN_WORDS = re.compile(rb"(?<=[A-Za-z])[\x80-\x91\x93-\x9b\x9d-\x9f](?=[A-Za-z])")
"""CP1252's punctuation within a word, without the apostrophe and the oe ligature."""
_LETTERS = re.compile(rb"[\xc0-\xff]")


def encoding_of(beginning: bytes) -> str:
    """Return the encoding of a file's byte order mark; UTF-8 without one."""
    return next((name for mark, name in _MARKS if beginning.startswith(mark)), UTF_8)


def likely_encoding_of(beginning: bytes, *, is_whole: bool) -> str:
    """Return a spreadsheet file's encoding: that of its byte order mark, UTF-8, or CP1252.

    Excel saves "CSV" in CP1252 on a Western Windows. It is chosen only if no line is non-ASCII UTF-8 (in a
    file of both, the first line that is not UTF-8 is an error), and if the non-ASCII bytes are letters in
    CP1252 and not, as in the encodings of MS-DOS and old Macs, quotes and dashes within words. `is_whole`:
    `beginning` ends with a complete line.
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
    """Return the error of line `number`, which is not UTF-8: byte, position, and a conversion command."""
    column = len(line[: error.start].decode().removeprefix("\ufeff")) + 1
    likely = _likely(line)
    reason = f"not valid UTF-8: byte 0x{line[error.start]:02X}"
    if likely is None:
        hint = "find out the file's encoding, and convert it to UTF-8 with iconv"
        return Unreadable(path, number, column, reason, hint)
    reason += f"; the file is likely {likely}"
    return Unreadable(path, number, column, reason, conversion(path, likely))


def conversion(path: Path, encoding: str) -> str:
    """Return the shell command that converts `path` to UTF-8."""
    readers = {".gz": "gzip -dc", ".zst": "zstd -dc"}
    name, suffix = Path(shown(path)), path.suffix.lower()
    plain = name.with_suffix("") if suffix in readers else name
    out = shlex.quote(str(plain.with_suffix(f".utf8{plain.suffix}")))
    convert, file = f"iconv -f {encoding.upper()} -t UTF-8", shlex.quote(str(name))
    if suffix in readers:
        return f"{readers[suffix]} {file} | {convert} > {out}"
    return f"{convert} {file} > {out}"


def first_undecodable(path: Path) -> Unreadable | None:
    """Return the error of the first byte of a file that is not UTF-8."""
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
