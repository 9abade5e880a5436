"""Diagnostics as text, JSON lines and GitHub annotations."""

from __future__ import annotations

import io
import json
import re

import pytest

from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.report.diagnostics import (
    WIDTH,
    Format,
    as_github,
    as_text,
    broken,
    columns_of,
    render,
    summary,
    wants_colour,
)

LINE = '        "learning_rte": 5e-4,'
FAULT = Diagnostic(
    "unknown-key",
    '"learning_rte" is no field of DPOConfig',
    Location("recipe.json", 9, 9, 14, LINE),
    "/stages/1/config/learning_rte",
    'did you mean "learning_rate"?',
)


def at(text: str, column: int, length: int) -> list[str]:
    return as_text(Diagnostic("x", "m", Location("f", 1, column, length, text))).splitlines()


def test_text():
    assert as_text(FAULT) == (
        'recipe.json:9:9: error[unknown-key]: "learning_rte" is no field of DPOConfig\n'
        '   9 |         "learning_rte": 5e-4,\n'
        '     |         ^^^^^^^^^^^^^^ did you mean "learning_rate"?\n'
        "     at /stages/1/config/learning_rte\n"
    )


def test_a_place_in_data_has_no_quoted_line():
    fault = Diagnostic("missing-column", "m", Location("rows.jsonl", 40), "/data/p", notes=("3 rows",))
    assert as_text(fault) == "rows.jsonl:40: error[missing-column]: m\n     3 rows\n"


def test_colour_changes_no_text():
    coloured = as_text(FAULT, colour=True)
    assert "\x1b[" in coloured
    for code in ("\x1b[1;31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == as_text(FAULT)


def test_a_long_line_is_cut_around_the_fault():
    text = '{"a": ' + "1" * 500 + ', "wrong": 2, ' + "3" * 500 + "}"
    quoted, marks = at(text, text.index('"wrong"') + 1, 7)[1:]
    start = marks.index("^")
    assert quoted[start : start + 7] == '"wrong"'
    assert len(quoted) < WIDTH + 12


def test_wide_characters_and_tabs_do_not_move_the_marks():
    quoted, marks = at('"日本": 1, "x": 2', 10, 3)[1:]
    assert quoted == '   1 | "日本": 1, "x": 2'
    assert marks == "     | " + " " * 11 + "^^^"
    quoted, marks = at('\t\t"x": 2', 3, 3)[1:]
    assert (quoted, marks) == ('   1 |   "x": 2', "     |   ^^^")


@pytest.mark.parametrize("char", ["\x1b", "\x07", "\u202e", "\ud800", "\x9b"])
def test_nothing_in_a_recipe_moves_the_cursor(char):
    text = as_text(
        Diagnostic("x", f"a{char}b", Location(f"{char}f", 1, 3, 1, f"x{char}yz"), f"/{char}", char)
    )
    assert char not in text
    text.encode()


def test_a_key_of_any_length_leaves_room_on_the_screen():
    key = "x" * 100_000
    text = as_text(Diagnostic("x", key, Location("f", 1, 2, len(key), f'{{"{key}": 1}}'), f"/{key}", key))
    assert len(text) < 4000


def test_json_has_every_key_and_one_line():
    text = render([FAULT, Diagnostic("x", "a\nb \ud800")], Format.JSON)
    first, second = map(json.loads, text.splitlines())
    assert first == {
        "file": "recipe.json",
        "line": 9,
        "column": 9,
        "pointer": "/stages/1/config/learning_rte",
        "code": "unknown-key",
        "severity": "error",
        "message": '"learning_rte" is no field of DPOConfig',
        "hint": 'did you mean "learning_rate"?',
        "notes": [],
    }
    assert second.keys() == first.keys()
    assert second["file"] is None


def test_github():
    fault = Diagnostic("x", "100 % of\nit", Location("a,b:c.json", 2, 3, 4), severity=Severity.WARNING)
    assert as_github(fault) == (
        "::warning title=x,file=a%2Cb%3Ac.json,line=2,col=3,endColumn=7::100 %25 of%0Ait"
    )


def test_files_below_the_working_directory_are_shown_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fault = Diagnostic("x", "m", Location(str(tmp_path / "data" / "a.jsonl"), 3))
    assert render([fault], Format.TEXT) == "data/a.jsonl:3: error[x]: m\n"


@pytest.mark.parametrize(
    ("errors", "warnings", "text"),
    [(0, 0, ""), (1, 0, "1 error"), (3, 1, "3 errors, 1 warning"), (0, 2, "2 warnings")],
)
def test_summary(errors, warnings, text):
    warning = Diagnostic("x", "m", severity=Severity.WARNING)
    assert summary([FAULT] * errors + [warning] * warnings) == text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_only_on_a_terminal_and_never_against_no_color(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal_text_breaks_between_words(width, colour):
    """At 80 columns a terminal broke "further up in the data to|o" by itself."""
    line = '  "model": {"path": "outputs/one/two/three"}, "seed": "forty-two", "adapter": {"use_lora": true}'
    one = Diagnostic(
        "wrong-type",
        "the seed is a whole number that everything random is drawn from, in training and evaluation alike",
        Location("recipe.json", 7, 53, 11, line),
        "/seed",
        hint="a whole number from 0 to 4,294,967,295, such as 42; leave the key out for the default of 42",
        notes=("the same seed gives the same numbers on the same kind of device, and only on the same kind",),
    )
    told = re.sub("\x1b\\[[0-9;]*m", "", as_text(one, colour, width))
    assert all(len(text) <= width for text in told.splitlines()), told
    whole = " ".join(told.split())
    for text in (one.message, one.hint, one.notes[0]):
        assert " ".join(text.split()) in whole
    assert told.startswith("recipe.json:7:53: error[wrong-type]:")
    assert "^" * 5 in told and "at /seed" in told
    assert (as_text(one, colour, width) == told) is not colour


def test_through_a_pipe_a_line_stays_a_line():
    assert columns_of(io.StringIO()) is None
    assert len(as_text(Diagnostic("x", "word " * 60)).splitlines()) == 1


def test_a_long_line_breaks_between_words_and_a_command_stays_whole():
    told = "accuracy by contains_answer: all 160 right answers are short texts (to change it: eval.accuracy)"
    command = f"     pt run {'r' * 90}.json --output somewhere"
    assert broken(told, None) == told
    first, second, last = broken(f"{told}\n{command}", 80).split("\n")
    assert (first.endswith("(to change"), second.strip(), last) == (True, "it: eval.accuracy)", command)
