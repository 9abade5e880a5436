"""Read JSON files: a list of rows, or one row per line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from ptspec.data.readers.compression import open_binary
from ptspec.data.readers.encoding import BOM, UTF_8, encoding_of, first_undecodable
from ptspec.data.readers.json_list import NotAList, elements
from ptspec.data.readers.jsonl import of_encoding, read_jsonl, row
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable


def read_json(path: Path) -> Iterator[Item]:
    """Yield rows of a JSON list, or of one object per line, as in many of the hub's .json files."""
    with open_binary(path) as file:
        beginning = file.read(4096)
    if (encoding := encoding_of(beginning)) != UTF_8:
        yield of_encoding(path, encoding)
        return
    is_list = beginning.removeprefix(BOM).lstrip()[:1] in (b"[", b"")
    if not is_list and isinstance(next(read_jsonl(path), None), PlacedRow):
        yield from read_jsonl(path)
        return
    with open_binary(path) as file, io.TextIOWrapper(file, encoding=UTF_8) as text:
        line = 1
        try:
            for line, value in elements(text):
                yield PlacedRow(path, line, value) if type(value) is dict else row(path, line, value)
        except NotAList as error:
            yield Unreadable(path, error.line, error.column, error.reason)
        except UnicodeDecodeError:
            yield first_undecodable(path) or Unreadable(path, line, None, "not valid UTF-8")
