"""`pt methods`: a table that fits a terminal of 80 columns, a screen that says what is needed to choose."""

from __future__ import annotations

import json

import pytest

from ptspec import methods
from ptspec.data.layouts.table import layout_for
from ptspec.report.methods import screen, table


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_a_line_a_method_and_fits(width):
    lines = table(width).splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(methods.METHODS)]] == list(methods.METHODS)
    assert max(map(len, lines)) <= width
    assert ("arXiv" in table(width)) is (width == 120)


@pytest.mark.parametrize("name", methods.METHODS)
@pytest.mark.parametrize("width", [80, 120])
def test_a_screen_tells_all_of_a_method(name, width):
    method = methods.get(name)
    text = screen(method, width)
    assert max(map(len, text.splitlines())) <= width
    for part in ("when", "how", "for", "against", "data: ", "needs and yields", "fields people change"):
        assert f"\n{part}" in text
    assert method.paper in text
    assert all(f"  {field} " in text for field in method.guide.fields)
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("name", methods.METHODS)
def test_the_examples_are_what_the_method_takes(name):
    method = methods.get(name)
    row, stage = json.loads(method.guide.example_row), json.loads(method.guide.example_stage)
    assert layout_for(method.rows, frozenset(row)) is not None
    assert stage["method"] == name


def test_defaults_that_are_not_trls_stand_with_both_values_and_why():
    text = " ".join(screen(methods.get("nash_md"), 80).split())
    assert "defaults that are not TRL's - num_generations 8 (TRL: 2): of two generations" in text
    assert "- adam_beta1 0.0 (TRL: 0.9): momentum turns the play" in text
    assert "not TRL's" not in screen(methods.get("dpo"), 80)
