"""Expressions, by math-verify."""

import sys

import pytest
from support.scoring import score_of

from ptspec.diagnostics import InputError
from ptspec.rewards.builtin import builtin

score = score_of("math_answer")


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        (r"So it is $\frac{1}{2}$.", "1/2", 1),
        (r"The answer is \boxed{\frac{2}{4}}", r"\frac{1}{2}", 1),
        (r"\boxed{x^2 + 1}", "1+x^2", 1),
        ("x^2+1", "1+x^2", 1),
        (r"\boxed{3}", "2", 0),
        ("I get 2.", "2", 1),
        (r"$2\sqrt{3}$", r"\sqrt{12}", 1),
        ("Pairs", "Paris", 0),
        ("It is Paris.", "Paris", 1),
        (r"<think>\boxed{2}</think>\boxed{3}", "2", 0),
        ("", "2", 0),
    ],
)
def test_equal_expressions_are_right(text, gold, right):
    assert score(text, gold) == right


def test_without_math_verify_it_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(InputError) as refused:
        builtin("math_answer")
    (fault,) = refused.value.diagnostics
    assert (fault.code, fault.hint) == ("missing-package", "pip install 'ptspec[math]'")
    assert fault.message == "math_answer needs math-verify, which is not installed"
