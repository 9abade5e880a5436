"""Judges: Bradley-Terry from rewards, and the checks of what users' functions return."""

from __future__ import annotations

import functools
import math

import pytest

from ptspec.diagnostics import StageError
from ptspec.rewards.checked import checked_judge, name_of
from ptspec.rewards.judges import BradleyTerry, sigmoid

PROMPTS = ["p0", "p1", "p2"]
A, B = ["a", "bb", "ccc"], ["aaaa", "bb", "c"]


def length(prompts, completions, **columns):
    return [float(len(completion)) for completion in completions]


def matches_answer(prompts, completions, answer, **columns):
    return [
        None if gold is None else float(text == gold) for text, gold in zip(completions, answer, strict=True)
    ]


def test_bradley_terry_is_the_sigmoid_of_the_weighted_difference():
    wins = BradleyTerry((length,), (0.5,))(PROMPTS, A, B)
    assert wins == pytest.approx([1 / (1 + math.exp(1.5)), 0.5, 1 / (1 + math.exp(-1))])


def test_several_rewards_add_and_one_without_a_say_does_not_count():
    judge = BradleyTerry((length, matches_answer), (1.0, 2.0))
    wins = judge(PROMPTS, A, B, answer=["a", "bb", None])
    assert wins == pytest.approx([sigmoid(-3 + 2), 0.5, sigmoid(2)])
    assert BradleyTerry((matches_answer,), (1.0,))(PROMPTS, A, B, answer=[None] * 3) == [0.5] * 3


def test_bradley_terry_is_symmetric_and_does_not_overflow():
    judge = BradleyTerry((length,), (1e4,))
    there, back = judge(PROMPTS, A, B), judge(PROMPTS, B, A)
    assert [p + q for p, q in zip(there, back, strict=True)] == pytest.approx([1, 1, 1])
    assert there == [0, 0.5, 1]


def short(prompts, a, b):
    return [0.5] * (len(a) - 1)


def nothing(prompts, a, b):
    return None


def not_a_number(prompts, a, b):
    return [0.5, float("nan"), 0.5]


def too_sure(prompts, a, b):
    return [0.5, 0.5, 1.5]


def text(prompts, a, b):
    return ["a", "b", "a"]


def breaks(prompts, a, b):
    raise KeyError("score")


def one_argument(prompts):
    return [0.5] * 3


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (short, ['"short"', "2 numbers for 3 rows", "row 3"]),
        (nothing, ['"nothing"', "returned None, not a list"]),
        (not_a_number, ['"not_a_number"', "nan", "row 2 of the 3"]),
        (too_sure, ['"too_sure"', "1.5", "row 3 of the 3"]),
        (text, ['"text"', "'a'", "row 1 of the 3"]),
        (breaks, ['"breaks"', "KeyError", "score"]),
        (one_argument, ['"one_argument"', "TypeError"]),
        (functools.partial(short), ['"short"']),
    ],
    ids=lambda value: name_of(value) if callable(value) else "",
)
def test_a_wrong_judge_is_named_with_the_row(judge, said):
    with pytest.raises(StageError) as caught:
        checked_judge(judge)(PROMPTS, A, B)
    (diagnostic,) = caught.value.diagnostics
    assert all(part in diagnostic.message for part in said), diagnostic.message
    assert diagnostic.hint


def infinite(prompts, completions, **columns):
    return [1.0, math.inf, 0.0]


def few(prompts, completions, **columns):
    return [1.0]


@pytest.mark.parametrize(
    ("reward", "said"),
    [(infinite, ['"infinite"', "inf", "row 2 of the 3"]), (few, ['"few"', "1 numbers for 3 rows", "row 2"])],
    ids=["infinite", "few"],
)
def test_a_wrong_reward_is_named_with_the_row(reward, said):
    with pytest.raises(StageError) as caught:
        BradleyTerry((length, reward), (1.0, 1.0))(PROMPTS, A, B)
    assert all(part in caught.value.diagnostics[0].message for part in said)


def test_arrays_are_taken_as_lists():
    import numpy

    assert checked_judge(lambda prompts, a, b: numpy.full(len(a), 0.25))(PROMPTS, A, B) == [0.25] * 3
