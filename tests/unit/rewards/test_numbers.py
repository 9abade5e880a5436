"""Numbers as models write them."""

import sys
from decimal import Decimal

import pytest

from ptspec.rewards.builtin import builtin
from ptspec.rewards.numbers import is_expression, is_number, same_number


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("It is 1,234.", "1234", True),
        ("$5.00", "5", True),
        ("5 apples and 7 pears: 12", "12", True),
        ("-3", "3", False),
        ("-3", "-3", True),
        ("3/4", "0.75", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("0.5%", "50%", False),
        ("0.5", "50%", True),
        ("3,5 Kilo", "3.5", True),
        ("1.234,56 €", "1234.56", True),
        ("1 234", "234", True),
        ("\\boxed{7} and 8", "7", True),
        ("So 3 + 4 = 7.", "7", True),
        ("7 or 8", "7", False),
        ("1,234,567", "1234567", True),
        ("12,34,56", "56", False),
        ("x", "7", False),
        ("7", "x", None),
        ("#### 42", "42", True),
        ("1/0", "7", False),
        ("from 3-5", "5", True),
        ("It is −5", "-5", True),
        ("1.5.", "1.5", True),
        ("2e3", "2000", True),
        ("٣", "3", True),
        ("1,500 or so", "1500", True),
        ("12 apples.", "12", True),
        ("(7)", "7", True),
        ("7,8", "8", False),
        ("5", "$5.00", True),
        ("The total is $1,234.50", "1234.5", True),
        ("50 \\%", "50", True),
        ("a list: 1, 2, 3", "3", True),
    ],
)
def test_the_last_number(text, gold, right):
    assert same_number(text, gold, Decimal(0)) is right


@pytest.mark.parametrize(
    ("gold", "number", "expression"),
    [
        ("42", True, False),
        ("$5.00", True, False),
        ("5 kg", True, False),
        ("50%", True, False),
        ("1,234", True, False),
        ("-3", True, False),
        ("3/4", True, False),
        ("\\frac{1}{2}", False, True),
        ("x^2+1", False, True),
        ("40 + 2 = 42", False, False),
        ("(1, 2)", False, True),
        ("Paris", False, False),
        ("He has 5 apples.\n#### 5", True, False),
        ("So $5 x 3 = 15$\n#### 15", True, False),
        ("2\\sqrt{3}", False, True),
        ("2x", False, True),
        ("€ 5", True, False),
        ("12 apples", True, False),
        ("A4", False, False),
        ("$x$", False, True),
        ("3.14", True, False),
        ("1e5", True, False),
        ("12:30", False, False),
        ("$40 + 2$", False, True),
    ],
)
def test_what_a_right_answer_is(gold, number, expression):
    assert (is_number(gold), is_expression(gold)) == (number, expression)


def test_any_of_several_right_answers_will_do():
    reward = builtin("contains_answer")
    golds = [["New York", "NYC"], [], None, [7, 8]]
    texts = ["in NYC", "in NYC", "in NYC", "8"]
    assert reward(prompts=["q"] * 4, completions=texts, answer=golds) == [1, None, None, 1]


def test_without_math_verify_expressions_have_no_say_and_that_is_told_once_with_a_count(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    told = []
    reward = builtin("numeric_answer", warn=told.append)
    golds = ["x^2+1", r"2\sqrt{3}", "7", "$5.00"]
    for _ in range(2):
        scores = reward(prompts=["q"] * 4, completions=["1", "3", "7", "5"], answer=golds)
        assert scores == [None, None, 1, 1]
    assert told == [
        "the reward numeric_answer cannot score 2 of 4 right answers, which are expressions, and "
        "math-verify is not installed: pip install 'ptspec[math]' (the first: \"x^2+1\")"
    ]
