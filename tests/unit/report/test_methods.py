"""`pt methods`: a table that fits a terminal of 80 columns, a screen that says what is needed to choose."""

from __future__ import annotations

import json

import pytest
from support.small import ROOT

from ptspec import methods
from ptspec.data.layouts.table import layout_for
from ptspec.methods.types import Feedback
from ptspec.recipe.config_rules import stage_rules
from ptspec.recipe.document import parse
from ptspec.recipe.findings import Findings
from ptspec.recipe.plan import AdapterSpec, Stage
from ptspec.recipe.schema import check
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


@pytest.mark.parametrize("name", methods.METHODS)
def test_each_variant_is_named_with_the_fields_that_make_it(name):
    text = " ".join(screen(methods.get(name), 120).split())
    for variant in methods.get(name).variants:
        assert f"{variant.name} {json.dumps(variant.config)[1:-1]}" in " ".join(text.split())
        assert variant.name in " ".join(table(80).split())


VARIANTS = [(one.name, variant) for one in methods.all_of_them() for variant in one.variants]


@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=lambda one: getattr(one, "name", one))
def test_the_fields_of_a_variant_are_right(name, variant):
    """As a recipe may write them: by the schema, and by the rules for values that go together."""
    stage = {"name": "x", "method": name, "data": "d", "config": dict(variant.config)}
    stage |= {"rewards": ["r"]} if methods.get(name).feedback.value.endswith("rewards") else {}
    stage |= {"teacher": "base"} if methods.get(name).feedback is Feedback.TEACHER else {}
    recipe = {
        "model": str(ROOT / "data/base_model"),
        "data": {"d": {"path": str(ROOT / "data/train.jsonl")}},
        "rewards": {"r": {"function": "length", "max": 9}},
        "stages": [stage],
    }
    found = Findings(parse(json.dumps(recipe), "f"))
    assert [one.message for one in check(found.document)] == []
    made = Stage("x", methods.get(name), "base", None, "d", AdapterSpec(True), config=variant.config)
    stage_rules(made, {}, None, found)
    assert [one.message for one in found.diagnostics] == []
    assert variant.paper.partition(" et al.")[2] or variant.paper.startswith("MiniMax")


def test_defaults_that_are_not_trls_stand_with_both_values_and_why():
    text = " ".join(screen(methods.get("nash_md"), 80).split())
    assert "defaults that are not TRL's - num_generations 8 (TRL: 2): of two generations" in text
    assert "- adam_beta1 0.0 (TRL: 0.9): momentum turns the play" in text
    assert "not TRL's" not in screen(methods.get("dpo"), 80)
