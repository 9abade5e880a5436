"""Rows come out of every file format alike, with their place; a broken line is named, never skipped."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptspec.data.readers.placed import PlacedRow, Unreadable
from ptspec.data.readers.scan import read_rows, scan
from ptspec.diagnostics import InputError
from ptspec.recipe.plan import Source

ROWS = [{"prompt": "a", "completion": "1"}, {"prompt": "ü", "completion": "2"}]


def write_jsonl(path, rows=ROWS):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write(path):
    if path.suffix == ".jsonl":
        write_jsonl(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(write_jsonl(path.parent / "plain.jsonl").read_bytes()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["prompt", "completion"])
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.json", "d.csv", "d.parquet"])
def test_every_format_gives_the_same_rows(tmp_path, name):
    source = Source("train", (write(tmp_path / name),))
    assert [row.values for row in read_rows(source)] == ROWS


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('\ufeff{"prompt": "a"}\n\n{"prompt": "b"}\n', encoding="utf-8")
    assert [row.line for row in read_rows(Source("train", (path,)))] == [1, 3]


def test_a_broken_line_is_named_with_its_place(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b",}\n[1]\n')
    first, broken, no_object = scan(Source("train", (path,)))
    assert isinstance(first, PlacedRow)
    assert isinstance(broken, Unreadable) and (broken.line, broken.column) == (2, 16)
    assert isinstance(no_object, Unreadable) and "a list" in no_object.reason
    with pytest.raises(InputError) as error:
        list(read_rows(Source("train", (path,))))
    assert error.value.diagnostics[0].location.line == 2


def test_columns_are_renamed_and_the_limit_counts_over_files(tmp_path):
    one, two = write_jsonl(tmp_path / "1.jsonl"), write_jsonl(tmp_path / "2.jsonl")
    source = Source("train", (one, two), columns={"question": "prompt"}, limit=3)
    rows = list(read_rows(source))
    assert [row.values["question"] for row in rows] == ["a", "ü", "a"]
    assert "prompt" not in rows[0].values
