"""Comparisons made by hand, for screens."""

from __future__ import annotations

from ptspec.evaluation.comparison import Comparison, Effect, Verdict, WinRate
from ptspec.events import Figure

A = {
    "loss": Figure(0.155),
    "accuracy": Figure(0.6125),
    "preference_accuracy": Figure(0.95),
    "style": Figure(0.3125, is_share=True),
    "response_length": Figure(18.93),
}


B = {
    "loss": Figure(0.1817),
    "accuracy": Figure(0.6),
    "preference_accuracy": Figure(0.99375),
    "style": Figure(1.0, is_share=True),
    "response_length": Figure(7.15),
}


def win_rate(figure, counts=(90, 20, 50), controlled=False):
    return WinRate(
        "fair", 0, 1, figure, figure, *counts, 160, 0.001, 0.01, Verdict.BETTER, True, None, controlled
    )


RATE = win_rate(Figure(0.844, 0.806, 0.877), (110, 50, 0))


def effect(name, difference, verdict, mde=None, b=1, value_a=None, value_b=None, p=0.001):
    a = A.get(name, Figure(0.0)).value if value_a is None else value_a
    other = B.get(name, Figure(0.0)).value if value_b is None else value_b
    tested = verdict is not Verdict.DESCRIBED
    return Effect(
        name, 0, b, a, other, difference, difference, 160, 160, p, p if tested else None, verdict, tested, mde
    )


EFFECTS = (
    effect("loss", Figure(0.0267, 0.021, 0.033), Verdict.WORSE),
    effect("accuracy", Figure(-0.0125, -0.071, 0.045), Verdict.NOT_SHOWN, 0.083, p=1.0),
    effect("preference_accuracy", Figure(0.04375, -0.003, 0.095), Verdict.NOT_SHOWN, 0.07, p=0.063),
    effect("style", Figure(0.6875, 0.612, 0.754), Verdict.BETTER),
    effect("response_length", Figure(-11.78, -13.5, -10.0), Verdict.DESCRIBED),
    effect("repetition", Figure(0.0, -0.01, 0.01), Verdict.DESCRIBED),
    effect("empty", Figure(0.0, -0.02, 0.02), Verdict.DESCRIBED),
)


def comparison(
    effects=EFFECTS, rates=(RATE,), names=("sft", "dpo"), values=(A, B), left_out=(0, 0), notes=()
):
    return Comparison(names, 160, left_out, values, effects, rates, notes, 42, tests=5)
