"""What a model writes never stops a run: every built-in reward gives any text a number, or has no say."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptspec.rewards.builtin import BUILTIN, builtin
from ptspec.rewards.scorers import numeric_answer

RECURSIVE = {"items": {"$ref": "#"}, "multipleOf": 0.5, "pattern": "^(a|b)*$", "uniqueItems": True}
OPTIONS = {
    "regex": {"pattern": r"\d+", "search": True},
    "length": {"target": 12},
    "json_schema": {"schema": RECURSIVE},
    "numeric_answer": {"tolerance": 0.01},
}
REWARDS = {name: builtin(name, OPTIONS.get(name)) for name in BUILTIN}

NUMERIC = st.text("0123456789.,-+eE/−٣²½∞ $\\{}()^_", max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
).map(repr)
TAGGED = st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", " ", "x"])).map("".join)
ANY = st.text(max_size=60) | st.text(st.characters(codec=None), max_size=20) | NUMERIC | JSON | TAGGED
HARD = [
    *("it is 1e9999999", "1e-9999999", "1e999999999999999999999", "1e999999/1e-999999", "9" * 5000, "1/0"),
    *("NaN", "Infinity", "1e999", "[1e400, 1e400]", "9" * 4000, "[" * 500 + "]" * 500, "[" * 100_000),
    *("\ud800", "\x00", "\ufdfa" * 50, r"\frac{1}{0}", "$" * 99, "{" * 999, "٣", "²"),
]
ENDLESS = "$9^{9^9}$"
"""math-verify computes for its three seconds and gives up."""


@pytest.mark.parametrize("name", BUILTIN)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(ANY, min_size=1, max_size=4), gold=ANY | st.sampled_from(HARD))
def test_any_text_gets_a_number(name, texts, gold):
    check(name, texts, gold)


@pytest.mark.parametrize("gold", ["7", "1e9999999", "-1e-9999999", "$x$", ""])
@pytest.mark.parametrize("name", BUILTIN)
def test_texts_that_once_raised_get_a_number(name, gold):
    check(name, HARD, gold)


@pytest.mark.parametrize("name", BUILTIN)
def test_a_text_that_cannot_be_computed_gets_a_number(name):
    check(name, [ENDLESS], "7")


def check(name, texts, gold):
    golds = [gold] * len(texts)
    scores = REWARDS[name](
        prompts=["q"] * len(texts), completions=texts, completion_ids=None, answer=golds, output=golds
    )
    assert len(scores) == len(texts)
    for score in scores:
        assert score is None or (isinstance(score, float) and math.isfinite(score))
        assert score is not None or BUILTIN[name].silent is not None


def test_numbers_too_far_apart_for_a_decimal_differ():
    score = numeric_answer({"tolerance": 1})
    assert score("it is 1e9999999", "7") == 0
    assert score("it is 1e9999999", "1e9999999") == 1
    assert score("1e-9999999", "0.5") == 1
