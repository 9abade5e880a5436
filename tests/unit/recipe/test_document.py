"""Positions of a recipe's keys and values, and reading the file."""

from __future__ import annotations

import pytest

from ptspec.diagnostics import InputError
from ptspec.recipe.document import parse, read_document

TEXT = """{
  "name": "x",
  "stages": [
    {"a/b": 1, "~": [10, 20]}
  ]
}"""


@pytest.mark.parametrize(
    ("pointer", "key", "line", "column", "length"),
    [
        ("/name", False, 2, 11, 3),
        ("/name", True, 2, 3, 6),
        ("/stages/0/a~1b", False, 4, 13, 1),
        ("/stages/0/a~1b", True, 4, 6, 5),
        ("/stages/0/~0/1", False, 4, 26, 2),
        ("/stages/0", False, 4, 5, 1),
        ("", False, 1, 1, 1),
        # What is not there is shown at what encloses it.
        ("/stages/0/config/beta", False, 4, 5, 1),
        ("/nothing", True, 1, 1, 1),
    ],
)
def test_locate(pointer, key, line, column, length):
    where = parse(TEXT, "r.json").locate(pointer, key)
    assert (where.file, where.line, where.column, where.length) == ("r.json", line, column, length)
    assert where.text == TEXT.split("\n")[line - 1]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_editor_ends_them(newline):
    document = parse(TEXT.replace("\n", newline), "f")
    assert document.locate("/stages/0/~0/1").line == 4
    assert document.locate("/stages/0/~0/1").text == '    {"a/b": 1, "~": [10, 20]}'


def test_a_line_separator_inside_a_string_is_no_line_break():
    document = parse('{"a": "x\u2028y",\n "b": 1}', "f")
    assert document.locate("/b").line == 2


def test_columns_are_characters():
    assert parse('{"é😀": "日本", "b": 1}', "f").locate("/b", key=True).column == 14


def test_a_duplicate_key_names_both_places_and_the_last_counts():
    document = parse('{"a": {"x": 1},\n "a": 2}', "f")
    (fault,) = document.faults
    assert (fault.code, fault.location.line, fault.location.column) == ("duplicate-key", 2, 2)
    assert "line 1, column 2" in fault.hint
    assert document.value == {"a": 2}
    assert "/a/x" not in document.values


def test_faults_before_a_syntax_error_are_reported_with_it():
    with pytest.raises(InputError) as raised:
        parse('{"a": 1, "a": NaN,}', "f")
    assert [d.code for d in raised.value.diagnostics] == ["duplicate-key", "not-finite", "trailing-comma"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    file = tmp_path / "r.json"
    file.write_bytes('\ufeff{"a": 1}'.encode())
    assert read_document(file).locate("/a", key=True).column == 2


def test_a_wrong_byte_behind_a_byte_order_mark_is_placed(tmp_path):
    file = tmp_path / "r.json"
    file.write_bytes(b'\xef\xbb\xbf{\n"a": "\xff"}')
    with pytest.raises(InputError) as raised:
        read_document(file)
    (fault,) = raised.value.diagnostics
    assert (fault.code, fault.location.line, fault.location.column) == ("not-utf8", 2, 7)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_file_and_a_folder_are_reported(tmp_path, make):
    path = tmp_path / "recipe.json"
    make(path)
    (tmp_path / "recipes.json").write_text("{}")
    with pytest.raises(InputError) as raised:
        read_document(path)
    assert raised.value.diagnostics[0].code == "no-such-file"


def test_a_missing_file_has_its_neighbour_suggested(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InputError) as raised:
        read_document(tmp_path / "recpie.json")
    assert raised.value.diagnostics[0].hint == f"did you mean {tmp_path / 'recipe.json'}?"


def test_a_path_that_no_system_takes_is_reported(tmp_path):
    with pytest.raises(InputError):
        read_document(tmp_path / "a\0b")
