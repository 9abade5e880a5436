"""JSON: a list of rows, or a row a line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from ptspec.data.readers.compression import open_binary
from ptspec.data.readers.json_list import NotAList, elements
from ptspec.data.readers.jsonl import BOM, HALF, encodable, read_jsonl, row
from ptspec.data.readers.placed import PlacedRow, Unreadable


def read_json(path: Path) -> Iterator[PlacedRow | Unreadable]:
    """A list of rows, or, as the hub's .json files often are, one row a line."""
    with open_binary(path) as file:
        is_list = file.read(4096).removeprefix(BOM).lstrip()[:1] in (b"[", b"")
    if not is_list and isinstance(next(read_jsonl(path), None), PlacedRow):
        yield from read_jsonl(path)
        return
    with open_binary(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        line = 1
        try:
            for line, value in elements(text):
                encodable(value)
                yield row(path, line, value)
        except NotAList as error:
            yield Unreadable(path, error.line, error.column, error.reason)
        except UnicodeDecodeError:
            yield Unreadable(path, line, None, "not valid UTF-8, on this line or after it")
        except UnicodeEncodeError:
            yield Unreadable(path, line, None, HALF)
