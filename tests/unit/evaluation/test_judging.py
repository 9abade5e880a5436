"""Win rates by a judge: both orders, ties, and with length taken out."""

from dataclasses import replace

import numpy as np
import pytest

from ptspec.data.layouts.evaluation import evaluation_row
from ptspec.diagnostics import StageError
from ptspec.evaluation import controlled
from ptspec.evaluation.controlled import length_controlled
from ptspec.evaluation.judging import NamedJudge, judged, preferences, win_rates
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.rewards.builtin import builtin
from ptspec.rewards.checked import CheckedJudge, CheckedReward, in_data_form
from ptspec.rewards.judges import BradleyTerry

SETTINGS = Settings(seed=1, max_new_tokens=48, preference_reference=None, chat=True)


def said(name, *responses, settings=SETTINGS):
    rows = tuple(
        RowMeasurement(id=str(i), prompt=f"question {i}", response=text, answer="x")
        for i, text in enumerate(responses)
    )
    return Measurement(name, rows, {}, settings)


def judge(function):
    return NamedJudge("fair", CheckedJudge(in_data_form(function, strings=True), "fair", "/judges/fair"))


def shorter(prompts, a, b):
    return [0.5 if len(x) == len(y) else float(len(x) < len(y)) for x, y in zip(a, b, strict=True)]


def first_place(prompts, a, b):
    return [1.0] * len(prompts)


def test_a_liking_for_the_first_place_cancels():
    wins = preferences(judge(first_place), said("a", "one", "two"), said("b", "xx", "yy"))
    assert wins == {"0": 0.5, "1": 0.5}


def test_the_same_response_is_a_tie_that_nobody_is_asked_about():
    asked = []

    def careful(prompts, a, b):
        asked.extend(prompts)
        return [0.9] * len(prompts)

    wins = preferences(judge(careful), said("a", "same", "two", "three"), said("b", "same", "x", "y"))
    assert wins["0"] == 0.5 and asked == ["question 1", "question 2"] * 2


def test_the_judge_gets_the_datas_form_and_says_who_of_the_two():
    seen = []

    def looking(prompts, a, b):
        seen.append((list(prompts), list(a), list(b)))
        return shorter(prompts, a, b)

    wins = preferences(judge(looking), said("a", "long", "x", "xyz"), said("b", "s", "longer", "abc"))
    assert wins == {"0": 1.0, "1": 0.0, "2": 0.5}
    assert seen[0] == (
        ["question 0", "question 1", "question 2"],
        ["s", "longer", "abc"],
        ["long", "x", "xyz"],
    )
    assert seen[1][1:] == (seen[0][2], seen[0][1])
    turns = NamedJudge("fair", CheckedJudge(looking, "fair", "/judges/fair"))
    preferences(turns, said("a", "long"), said("b", "s"))
    assert seen[-1][1] == [[{"role": "assistant", "content": "long"}]]


def test_whole_rows_are_shown_where_they_are_at_hand():
    row = evaluation_row(
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "r"},
            ]
        }
    )
    seen = []

    def looking(prompts, a, b):
        seen.extend(prompts)
        return [0.5] * len(prompts)

    named_judge = NamedJudge("fair", CheckedJudge(looking, "fair", ""), {"0": row})
    preferences(named_judge, said("a", "x"), said("b", "y"))
    assert [turn["role"] for turn in seen[0]] == ["system", "user"]


def test_a_judge_by_a_reward_gets_its_columns():
    reward = CheckedReward(
        in_data_form(builtin("exact_match", {"column": "answer"}), True), "right", "/rewards/right"
    )
    named_judge = NamedJudge("by", BradleyTerry((reward,), (2.0,)))
    wins = preferences(named_judge, said("a", "x", "y", "x"), said("b", "y", "x", "x "))
    assert wins["0"] < 0.2 and wins["1"] > 0.8 and wins["2"] == 0.5


def test_rows_that_one_did_not_answer_are_left_out():
    less = said("b", "xx", "yy")
    less = replace(less, rows=(less.rows[0], replace(less.rows[1], response=None)))
    assert preferences(judge(shorter), said("a", "one", "two"), less) == {"0": 1.0}


def test_win_rates_over_parent_and_base_are_metrics():
    base, parent = said("base", *["x" * 9] * 40), said("sft", *["x" * 5] * 40)
    stage = said("dpo", *["x" * (4 if i % 4 else 6) for i in range(40)])
    found = judged(judge(shorter), stage, parent, base)
    assert found.metrics["win_rate"].value == 0.75 and found.metrics["win_rate_base"].value == 1
    assert found.metrics["win_rate"].low < 0.75 < found.metrics["win_rate"].high
    assert found.rows[0].judged == {"sft": 0.0, "base": 1.0}
    assert (found.judge.name, found.judge.compared, found.judge.ties) == ("fair", 80, 0)
    first = judged(judge(shorter), parent, base, base)
    assert first.metrics["win_rate"] == first.metrics["win_rate_base"] and first.judge.compared == 40


def test_a_failing_judge_is_named():
    def broken(prompts, a, b):
        raise ZeroDivisionError("no")

    with pytest.raises(StageError, match='the judge "fair" failed with ZeroDivisionError'):
        preferences(judge(broken), said("a", "x"), said("b", "y"))


def test_probabilities_are_averaged():
    wins = {str(i): p for i, p in enumerate([0.9, 0.8, 0.5, 0.7])}
    both = said("a", *"abcd"), said("b", *"efgh")
    raw, fixed = win_rates(wins, *both, seed=1)
    assert raw.value == pytest.approx(0.725) and fixed is None  # all as long as each other


def made(n, theta, phi, seed=0):
    rng = np.random.default_rng(seed)
    longer = np.round(rng.normal(20, 30, n))
    p = 1 / (1 + np.exp(-(theta + phi * np.tanh(longer / longer.std()))))
    return np.where(rng.random(n) < 0.2, 0.5, rng.random(n) < p).astype(float), longer


def test_a_judge_that_likes_length_alone_gives_no_win_at_equal_length():
    rng = np.random.default_rng(1)
    longer = np.round(rng.normal(40, 40, 400))
    raw = (longer > 0).astype(float)
    found = length_controlled(raw, longer)
    assert raw.mean() > 0.8 and found.at(0.95).low < 0.5 < found.at(0.95).high


def test_length_controlled_is_a_logistic_regression(monkeypatch):
    """Against statsmodels, the pseudo-observations given to it as rows."""
    sm = pytest.importorskip("statsmodels.api")
    monkeypatch.setattr(controlled, "RIDGE", 0.0)
    y, longer = made(150, 0.7, 1.1)
    x = np.append(np.tanh(longer / longer.std()), [0, 0])
    weights = np.append(np.ones(150), [0.5, 0.5])
    model = sm.GLM(np.append(y, [0, 1]), sm.add_constant(x), sm.families.Binomial(), var_weights=weights)
    fitted = model.fit(tol=1e-12)
    theta, phi = controlled._fit(y, x[:150])
    assert (theta, phi) == pytest.approx(tuple(fitted.params), abs=1e-6)
    design = sm.add_constant(x)
    p = fitted.predict(design)
    bread = np.linalg.inv((design * (weights * p * (1 - p))[:, None]).T @ design)
    lever = np.einsum("ij,jk,ik->i", design, bread, design) * p * (1 - p)
    squares = (np.append(y, [0, 1]) - p) ** 2
    meat = np.where(weights == 1, squares / (1 - lever), weights * squares)
    error = np.sqrt((bread @ (design * meat[:, None]).T @ design @ bread)[0, 0])
    assert controlled._error(y, x[:150], theta, phi, None) == pytest.approx(error, rel=1e-6)


def test_both_ways_round_add_up_to_one():
    y, longer = made(80, 0.4, -0.8)
    there, back = length_controlled(y, longer), length_controlled(1 - y, -longer)
    assert there.value == pytest.approx(1 - back.value, abs=1e-12)
    assert there.at(0.95).low == pytest.approx(1 - back.at(0.95).high, abs=1e-12)
    assert there.p == pytest.approx(back.p, abs=1e-12)


def test_one_side_that_always_wins_still_has_an_interval():
    rng = np.random.default_rng(2)
    found = length_controlled(np.ones(100), rng.normal(0, 10, 100))
    assert 0.8 < found.at(0.95).low < found.value < found.at(0.95).high < 1
