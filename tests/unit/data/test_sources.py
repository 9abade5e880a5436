"""Rows come out of every file format alike, with their place; a broken line is named, never skipped."""

import csv
import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ptspec.data.checks import ranges
from ptspec.data.checks.source_pass import SourcePass
from ptspec.data.dataset import load_evaluation
from ptspec.data.readers.compression import kind_of
from ptspec.data.readers.placed import PlacedRow, Unreadable
from ptspec.data.readers.scan import COUNTERS, READERS, notes, scan
from ptspec.diagnostics import InputError, Severity
from ptspec.recipe.paths import DATA_FORMATS
from ptspec.recipe.sources import Source

ROWS = [{"prompt": "a", "completion": "1"}, {"prompt": "ü", "completion": "2"}]


def jsonl(rows=ROWS) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def delimited(separator, rows=ROWS) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def arrow(rows=ROWS, *, stream: bool) -> bytes:
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def parquet(rows=ROWS) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


FILES = {
    "d.jsonl": jsonl(),
    "d.ndjson": jsonl(),
    "d.jsonl.gz": gzip.compress(jsonl()),
    "d.json": json.dumps(ROWS).encode(),
    "lines.json": jsonl(),
    "d.csv": delimited(",").encode(),
    "semicolon.csv": delimited(";").encode(),
    "bar.csv": delimited("|").encode(),
    "tab.csv": delimited("\t").encode(),
    "d.csv.gz": gzip.compress(delimited(";").encode("utf-8-sig")),
    "d.tsv": delimited("\t").encode(),
    "comma.tsv": delimited(",").encode(),
    "excel.csv": delimited("\t").encode("utf-16"),
    "big-endian.csv": b"\xfe\xff" + delimited(",").encode("utf-16-be"),
    "d.parquet": parquet(),
    "stream.arrow": arrow(stream=True),
    "file.arrow": arrow(stream=False),
    "d.feather": arrow(stream=False),
}


def write(path, content=None):
    path.write_bytes(FILES[path.name] if content is None else content)
    return path


def source(path, **fields) -> Source:
    return Source("train", (path,), at="/data/train", **fields)


def told(caught) -> list[tuple[str, str | None]]:
    return [(one.code, one.pointer) for one in caught.value.diagnostics]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_rows(tmp_path, name):
    assert [row.values for row in scan(source(write(tmp_path / name)))] == ROWS


def test_every_format_that_a_recipe_may_name_is_read():
    assert set(DATA_FORMATS) == set(READERS)


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('\ufeff{"prompt": "a"}\n\n{"prompt": "b"}\n', encoding="utf-8")
    assert [row.line for row in scan(source(path))] == [1, 3]


def test_a_broken_line_is_named_with_its_place(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b",}\n[1]\n')
    first, broken, no_object = scan(source(path))
    assert isinstance(first, PlacedRow)
    assert isinstance(broken, Unreadable) and (broken.line, broken.column) == (2, 16)
    assert isinstance(no_object, Unreadable) and "a list" in no_object.reason
    with pytest.raises(InputError) as error:
        load_evaluation({"train": source(path)}, "train")
    assert error.value.diagnostics[0].location.line == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("d.csv", []),
        ("d.tsv", []),
        ("d.jsonl", []),
        ("semicolon.csv", ['columns are separated by ";"']),
        ("tab.csv", ["columns are separated by tabs"]),
        ("comma.tsv", ['columns are separated by ","']),
        ("excel.csv", ["columns are separated by tabs", "read as UTF-16"]),
    ],
)
def test_what_is_found_out_of_a_file_is_reported_once(tmp_path, name, expected):
    found = list(notes(source(write(tmp_path / name))))
    assert [one.message for one in found] == expected
    assert all(one.severity is Severity.WARNING and one.pointer == "/data/train" for one in found)
    assert {one.code for one in found} <= {"csv-separator", "csv-encoding"}


def test_what_holds_for_many_files_is_reported_once(tmp_path):
    paths = tuple(write(tmp_path / f"{i}.csv", delimited(";").encode()) for i in range(3))
    (found,) = notes(Source("train", paths))
    assert found.message == 'columns are separated by ";" (and so in 2 more files)'
    assert found.location.file.endswith("0.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b\n1,5;2,5\n3,5;4\n", {"a": "1,5", "b": "2,5"}),  # decimal commas
        ('a,b\n"x;y;z","u;v"\n', {"a": "x;y;z", "b": "u;v"}),
        ("text\nhello world\n", {"text": "hello world"}),
        ('text\n"a; b"\n', {"text": "a; b"}),
        ("a|b;c|d\n1|2|3\n", {"a": "1", "b;c": "2", "d": "3"}),
        ('a;b\n"line\nbreak";"2"\n', {"a": "line\nbreak", "b": "2"}),
    ],
)
def test_the_separator_is_the_one_that_cuts_all_records_alike(tmp_path, text, expected):
    assert next(scan(source(write(tmp_path / "d.csv", text.encode())))).values == expected


def test_a_long_field_is_read(tmp_path):
    rows = [{"prompt": "a", "completion": "x" * 300_000}]
    assert [
        row.values for row in scan(source(write(tmp_path / "d.csv", delimited(",", rows).encode())))
    ] == rows


@pytest.mark.parametrize(
    ("text", "reason", "hint"),
    [
        ("a,b,a\n1,2,3\n", 'more than one column "a"', "a name of its own"),
        (",a\n0,1\n", "no name to column 1 of 2", "index=False"),
        ("a,b, \n0,1,2\n", "no name to column 3 of 3", "name every column"),
        ("p\0,\0b\0\n\0", "UTF-16 without a byte order mark", "iconv -f UTF-16LE -t UTF-8"),
    ],
)
def test_a_header_that_does_not_name_the_columns_is_an_error(tmp_path, text, reason, hint):
    (fault,) = scan(source(write(tmp_path / "d.csv", text.encode())))
    assert isinstance(fault, Unreadable) and fault.line == 1
    assert reason in fault.reason and hint in fault.hint


def test_an_open_quote_is_reported_where_its_record_begins(tmp_path):
    text = 'a,b\n1,2\n"3,4\n' + "5,6\n" * 1000
    *_, fault = scan(source(write(tmp_path / "d.csv", text.encode())))
    assert isinstance(fault, Unreadable)
    assert (fault.line, fault.reason) == (3, "not valid CSV: a quote is never closed")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", '{"a": 1}\n{"a": 2}\n{"a": "caf\xe9"}\n'),
        ("d.json", '[\n{"a": 1},\n{"a": "caf\xe9"}]\n'),
    ],
)
def test_a_byte_that_is_not_utf_8_is_reported_with_its_place_and_what_to_do(
    tmp_path, monkeypatch, name, content
):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / name, content.encode("cp1252"))
    *_, fault = scan(source(path))
    assert isinstance(fault, Unreadable)
    line = content.splitlines()[2]
    assert (fault.line, fault.column) == (3, line.index("\xe9") + 1)
    assert fault.reason == "not valid UTF-8: byte 0xE9; the file is likely cp1252"
    stem, suffix = name.split(".")
    assert fault.hint == f"iconv -f CP1252 -t UTF-8 {name} > {stem}.utf8.{suffix}"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_a_table_as_a_german_excel_saves_it(tmp_path, encoding):
    text = 'Frage;Größe\r\n"Wie groß; sagen Sie?";"2,5 m – für 3 €"\r\nÖl;1,75\r\n'
    path = write(tmp_path / "d.csv", text.encode(encoding))
    rows = [dict(row.values) for row in scan(source(path)) if isinstance(row, PlacedRow)]
    first = {"Frage": "Wie groß; sagen Sie?", "Größe": "2,5 m – für 3 €"}
    assert rows == [first, {"Frage": "Öl", "Größe": "1,75"}]
    told = {note.code: note.message for note in notes(source(path))}
    assert told["csv-separator"] == 'columns are separated by ";"'
    assert told.get("csv-encoding") == {"cp1252": "read as CP1252", "utf-16": "read as UTF-16"}.get(encoding)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a,b\n1,ü\n".encode() + "2,caf\xe9\n".encode("cp1252"), 3),
        ("a,b\n1,für\n2,Größe\n".encode("cp850"), 2),
        ("a,b\n1,für\n2,möchte\n".encode("mac_roman"), 2),
    ],
    ids=["utf-8 too", "MS-DOS", "Mac"],
)
def test_no_table_is_read_as_cp1252_that_is_not_likely_that(tmp_path, content, line):
    *_, fault = scan(source(write(tmp_path / "d.csv", content)))
    assert isinstance(fault, Unreadable)
    assert (fault.line, fault.reason.startswith("not valid UTF-8")) == (line, True)


def test_columns_count_in_characters_and_not_in_bytes(tmp_path):
    content = '{"a": "ü'.encode() + b'\xe9"}\n'
    (fault,) = scan(source(write(tmp_path / "d.jsonl", content)))
    assert isinstance(fault, Unreadable) and fault.column == 9


def test_of_a_text_that_is_hardly_western_no_encoding_is_guessed(tmp_path):
    (fault,) = scan(source(write(tmp_path / "d.jsonl", "漢字漢字漢字漢字漢字漢字".encode("gb18030") + b"\n")))
    assert isinstance(fault, Unreadable) and "likely" not in fault.reason


@pytest.mark.parametrize("name", ["d.jsonl", "d.json"])
def test_json_in_utf_16_is_reported_once(tmp_path, name):
    (fault,) = scan(source(write(tmp_path / name, jsonl().decode().encode("utf-16"))))
    assert isinstance(fault, Unreadable)
    assert fault.reason == "JSON has to be UTF-8, this file is UTF-16"
    assert fault.hint.startswith("iconv -f UTF-16 -t UTF-8 ")


@pytest.mark.parametrize("name", ["d.parquet", "d.arrow"])
@pytest.mark.parametrize("content", [b"", b"ARROW1", b"no table at all"])
def test_a_table_that_is_none_is_reported(tmp_path, name, content):
    (fault,) = scan(source(write(tmp_path / name, content)))
    assert isinstance(fault, Unreadable)


def test_a_table_that_ends_too_early_gives_the_rows_before(tmp_path):
    rows = [{"prompt": "x" * 100, "completion": str(i)} for i in range(5000)]
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    *good, fault = scan(source(write(tmp_path / "d.arrow", out.getvalue()[: out.tell() // 2])))
    assert 0 < len(good) < 5000
    assert isinstance(fault, Unreadable) and fault.line == len(good) + 1


def test_a_table_compressed_as_a_whole_is_reported(tmp_path):
    (fault,) = scan(source(write(tmp_path / "d.parquet.gz", gzip.compress(parquet()))))
    assert isinstance(fault, Unreadable) and fault.hint == "decompress it"


def test_what_arrow_adds_to_the_structs_of_chats_goes(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "q"}], "kwargs": {"n": 1}},
        {"messages": [{"role": "user", "content": "r", "name": "Mira"}], "kwargs": {"m": 2}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    found = [row.values for row in scan(source(tmp_path / "d.parquet"))]
    assert [row["messages"] for row in found] == [row["messages"] for row in rows]
    assert found[0]["kwargs"] == {"n": 1, "m": None}  # as the file has it


def test_columns_are_renamed_and_the_limit_counts_over_files(tmp_path):
    one, two = write(tmp_path / "1.jsonl", jsonl()), write(tmp_path / "2.jsonl", jsonl())
    found = Source("train", (one, two), columns={"question": "prompt"}, limit=3)
    rows = list(scan(found))
    assert [row.values["question"] for row in rows] == ["a", "ü", "a"]
    assert "prompt" not in rows[0].values


def test_one_column_serves_several_names(tmp_path):
    path = write(tmp_path / "d.jsonl")
    rows = scan(source(path, columns={"prompt": "prompt", "completion": "prompt"}))
    assert [row.values for row in rows] == [
        {"prompt": "a", "completion": "a"},
        {"prompt": "ü", "completion": "ü"},
    ]


def test_a_column_renamed_onto_another_replaces_it(tmp_path):
    rows = [{"question": "new", "prompt": "old"}, {"prompt": "old"}]
    found = scan(source(write(tmp_path / "d.jsonl", jsonl(rows)), columns={"prompt": "question"}))
    assert [row.values for row in found] == [{"prompt": "new"}, {}]


def test_a_column_that_no_row_has_is_reported(tmp_path):
    path = write(tmp_path / "d.jsonl", jsonl([{"a": 1}, {"a": 2, "late": 3}]))
    renamed = source(path, columns={"new": "late"})
    assert len(list(scan(renamed))) == 2
    assert not list(SourcePass(renamed, [], set(), is_held_out=False).faults())
    renamed = source(path, columns={"x/y": "laet"})
    (missing,) = SourcePass(renamed, [], set(), is_held_out=False).faults()
    assert (missing.code, missing.pointer) == ("missing-column", "/data/train/columns/x~1y")
    assert 'no column "laet"' in missing.message
    assert missing.hint == 'did you mean "late"?'


def numbers(path, **fields) -> list[int]:
    return [row.values["n"] for row in scan(source(path, **fields))]


@pytest.fixture
def numbered(tmp_path):
    return write(tmp_path / "d.jsonl", jsonl([{"n": i} for i in range(1000)]))


def test_the_seed_draws_rows_from_the_whole_file_before_the_limit(numbered):
    found = numbers(numbered, limit=5, shuffle=True, seed=1)
    assert len(set(found)) == 5 and found == sorted(found)
    assert found == numbers(numbered, limit=5, shuffle=True, seed=1)
    assert found != numbers(numbered, limit=5, shuffle=True, seed=2)
    assert numbers(numbered, limit=5) == [0, 1, 2, 3, 4]
    assert numbers(numbered, limit=5000, shuffle=True) == list(range(1000))


def test_the_draw_is_the_same_everywhere(numbered):
    assert numbers(numbered, limit=4, shuffle=True, seed=42) == [124, 290, 368, 394]


def test_every_row_is_drawn_as_often(numbered):
    thirds = [0, 0, 0]
    for seed in range(300):
        for n in numbers(numbered, limit=3, shuffle=True, seed=seed):
            thirds[n * 3 // 1000] += 1
    assert all(240 < count < 360 for count in thirds)


def test_a_limit_beyond_all_numbers_is_no_limit(numbered):
    assert len(numbers(numbered, limit=10**25)) == 1000
    assert len(numbers(numbered, split=f"train[:{10**25}]")) == 1000


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("split", "expected"), [("train[50%:]", ROWS[1:]), ("train[:-1]+train[-1:]", ROWS)])
def test_parts_of_a_split_are_read_of_every_format(tmp_path, name, split, expected):
    found = scan(source(write(tmp_path / name), split=split))
    assert [row.values for row in found] == expected


def test_the_limit_draws_from_the_part(numbered):
    found = numbers(numbered, split="train[90%:]+train[:10]", limit=50, shuffle=True)
    assert len(found) == 50
    assert {n for n in found if n < 900} <= set(range(10))
    assert numbers(numbered, split="train[990:]", limit=3) == [990, 991, 992]


def test_a_file_is_counted_once_for_all_passes_until_it_changes(numbered, monkeypatch):
    counted = []
    count = COUNTERS[".jsonl"]
    monkeypatch.setitem(COUNTERS, ".jsonl", lambda path: counted.append(path) or count(path))
    for split in ("train[:90%]", "train[90%:]"):
        assert numbers(numbered, split=split, limit=2, shuffle=True)
    assert counted == [numbered]
    write(numbered, jsonl([{"n": i} for i in range(10)]))
    assert numbers(numbered, split="train[90%:]") == [9] and len(counted) == 2


def test_lines_that_are_no_rows_count_in_a_part(tmp_path):
    path = write(tmp_path / "d.jsonl", b'{"n": 0}\n\n{"n": 1\n{"n": 2}\n{"n": 3}')
    assert [item.line for item in scan(source(path, split="train[50%:]"))] == [4, 5]


@pytest.mark.parametrize(
    ("split", "code"),
    [
        ("tset", "unknown-split"),
        ("train[:90", "invalid-split"),
        ("train[:5%](pct1_dropremainder)", "invalid-split"),
    ],
)
def test_a_split_that_is_not_there_is_reported(tmp_path, split, code):
    with pytest.raises(InputError) as caught:
        list(scan(source(write(tmp_path / "d.jsonl"), split=split)))
    assert told(caught) == [(code, "/data/train/split")]


def test_a_single_file_is_train_and_what_its_name_tells(tmp_path):
    path = write(tmp_path / "my-test.jsonl", jsonl())
    assert len(list(scan(source(path, split="train")))) == len(list(scan(source(path, split="test")))) == 2


def test_only_whole_files_are_shared_out(numbered, monkeypatch):
    monkeypatch.setattr(ranges, "BIG", 0)
    monkeypatch.setattr(ranges, "_processors", lambda: 2)
    assert ranges.ranges(source(numbered)) and ranges.ranges(source(numbered, split="train"))
    for fields in ({"limit": 5}, {"split": "train[:10]"}, {"split": "train+train"}):
        assert ranges.ranges(source(numbered, **fields)) == []
    monkeypatch.setattr(ranges.sys, "platform", "darwin")
    assert ranges.ranges(source(numbered)) == [], "a copy of a process is not safe there"


def peak(path, **fields) -> int:
    tracemalloc.start()
    try:
        for _ in scan(source(path, **fields)):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.parquet", "d.arrow"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    peaks = []
    for count in (4_000, 24_000):
        rows = [{"n": str(i), "text": "x" * 200} for i in range(count)]
        made = {
            ".jsonl": lambda rows=rows: jsonl(rows),
            ".json": lambda rows=rows: json.dumps(rows).encode(),
            ".csv": lambda rows=rows: delimited(",", rows).encode(),
            ".parquet": lambda rows=rows: parquet(rows),
            ".arrow": lambda rows=rows: arrow(rows, stream=True),
        }
        path = write(tmp_path / name, made[kind_of(tmp_path / name)]())
        peaks.append(peak(path, split="train[:-1]", limit=count // 2, shuffle=True))
    assert peaks[1] < 1.3 * peaks[0]
