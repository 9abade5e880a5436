"""Read JSONL files: one row per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ptspec.data.readers.compression import open_binary
from ptspec.data.readers.encoding import BOM, UTF_8, conversion, encoding_of, undecodable
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable

HALF = "half of a surrogate pair (\\ud800 to \\udfff) stands alone: no text can hold it"


def read_jsonl(path: Path) -> Iterator[Item]:
    """Yield the row of each line, or an `Unreadable`; empty lines are skipped."""
    with open_binary(path) as file:
        for number, line in enumerate(file, start=1):
            if (value := plain_object(line)) is not None:
                yield PlacedRow(path, number, value)
            elif number == 1 and (encoding := encoding_of(line)) != UTF_8:
                yield of_encoding(path, encoding)
                return
            elif not line.isspace():
                yield json_row(path, number, line)


def count_lines(path: Path) -> int:
    """Return the number of items that `read_jsonl` yields, without parsing them."""
    with open_binary(path) as file:
        first = file.readline()
        if encoding_of(first) != UTF_8:
            return 1
        return (not first.isspace() and bool(first)) + sum(not line.isspace() for line in file)


def of_encoding(path: Path, encoding: str) -> Unreadable:
    """Return the error of a JSON file that is not UTF-8 from the beginning."""
    reason = f"JSON has to be UTF-8, this file is {encoding.upper()}"
    return Unreadable(path, 1, None, reason, conversion(path, encoding))


class RepeatedKey(ValueError):
    """A duplicate key in an object; JSON leaves its meaning open, and most readers take the last."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKey(f'the key "{twice}" stands twice in an object: which value is meant is unknown')
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
scan_once = _DECODER.scan_once  # type: ignore[attr-defined]  # the library's type stubs leave it out
"""Returns the JSON value at a position of a text, and its end."""


half_escape = re.compile(r"\\u[dD]").search
"""Finds a possible half of a surrogate pair, which must be an escape. Three times as fast as `in`."""


def plain_object(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line that is one and a line break, as nearly every line; None otherwise."""
    try:
        text = line.decode()
        value, end = scan_once(text, 0)
        if type(value) is not dict or text[end:] != "\n":
            return None
        if half_escape(text):
            encodable(value)
    except (ValueError, StopIteration, RecursionError):
        return None
    return value


def json_row(path: Path, number: int, line: bytes) -> Item:
    """Return the row of a line, or an `Unreadable`."""
    begun = line.removeprefix(BOM)
    try:
        value = _DECODER.decode(begun.decode())
        encodable(value)
    except json.JSONDecodeError as error:
        return Unreadable(path, number, error.colno, f"not valid JSON: {error.msg}")
    except UnicodeDecodeError as error:
        return undecodable(path, number, begun, error)
    except RecursionError:
        return Unreadable(path, number, None, "nested too deeply")
    except UnicodeEncodeError:
        return Unreadable(path, number, None, HALF)
    except RepeatedKey as error:
        return Unreadable(path, number, None, str(error))
    except ValueError as error:  # a number of thousands of digits
        return Unreadable(path, number, None, f"not valid JSON: {error}")
    return row(path, number, value)


def encodable(value: Any) -> None:
    """Raise `UnicodeEncodeError` for a text with half a surrogate pair, which no tokenizer accepts."""
    if type(value) is str:
        value.encode()
        return
    for item in value.values() if type(value) is dict else value if type(value) is list else ():
        if type(item) is not str or not item.isascii():
            encodable(item)


def row(path: Path, number: int, value: Any) -> Item:
    """Return a row of `value`, or an `Unreadable` if it is not an object."""
    if not isinstance(value, dict):
        return Unreadable(path, number, 1, f"a row must be an object with columns, this is {_kind(value)}")
    return PlacedRow(path, number, value)


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
