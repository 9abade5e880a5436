"""Which variant is picked, and what is said of the choice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ptspec import methods
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.comparison_store import load_selection, save_selection
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.paired.held_out import held_out
from ptspec.evaluation.paired.select import select
from ptspec.evaluation.stats.crossed import crossed
from ptspec.events import Figure
from ptspec.recipe.plan import AdapterSpec, CheckSpec, PickSpec, Stage, VariantSpec
from ptspec.report.view.selection import selection_view

SETTINGS = Settings(42, 48, "sft", False)
ROWS = 200


def shares(right: int, rows: int = ROWS) -> list[float]:
    return [1.0] * right + [0.0] * (rows - right)


def measured(name, values, metric="style", **more):
    rows = tuple(
        RowMeasurement(str(i), f"prompt {i}", rewards={metric: value}, **{k: v[i] for k, v in more.items()})
        for i, value in enumerate(values)
    )
    figure = Figure(float(np.mean(values)), is_share=set(values) <= {0.0, 1.0})
    return Measurement(name, rows, {metric: figure}, SETTINGS)


def variant(number, **settings):
    spec = VariantSpec("dpo", number, settings)
    adapter = AdapterSpec(True)
    return Stage(f"dpo.{number}", methods.get("dpo"), "sft", None, "train", adapter, variant=spec)


def picked(*values, metric="style", keep=(), settings=None, measurements=None):
    """What is picked of variants with these values, row by row."""
    settings = settings or [{"beta": number} for number in range(len(values))]
    variants = [variant(number, **given) for number, given in enumerate(settings, start=1)]
    pick = PickSpec(metric, tuple(one.name for one in variants), keep)
    stage = replace(variants[0], name="dpo", variant=None, pick=pick)
    found = measurements or [measured(v.name, of, metric) for v, of in zip(variants, values, strict=True)]
    return select(stage, pick, variants, {one.name: one for one in found}, seed=1)


def test_the_best_is_picked_and_of_equal_ones_the_first():
    assert picked(shares(50), shares(90), shares(90), shares(10)).picked == "dpo.2"
    found = picked(shares(90), shares(90))
    assert (found.picked, found.next_best) == ("dpo.1", 1)
    assert "1 other is equal, and the first is taken" in selection_view(found).head
    assert found.runner_up.rival.verdict is Verdict.NOT_SHOWN
    assert found.tests == 0, "what does not differ is no test"


def test_of_a_metric_that_is_better_low_the_lowest_is_picked():
    rows = [RowMeasurement(str(i), f"p{i}", nll=1.0 + i % 7, tokens=3) for i in range(ROWS)]
    worse = [replace(row, nll=row.nll + 0.4) for row in rows]
    loss = [sum(row.nll for row in of) / sum(row.tokens for row in of) for of in (worse, rows)]
    for metric, values in (("loss", loss), ("perplexity", [math.exp(value) for value in loss])):
        both = [
            Measurement(f"dpo.{i}", tuple(of), {metric: Figure(value)}, SETTINGS)
            for i, (of, value) in enumerate(zip((worse, rows), values, strict=True), start=1)
        ]
        found = picked(None, None, metric=metric, measurements=both)
        assert found.picked == "dpo.2"
        rival = found.runner_up.rival
        assert rival.difference.value == pytest.approx(values[1] - values[0]) and rival.is_distinguishable
        assert found.held_out == pytest.approx(values[1], rel=1e-2)


def test_what_is_distinguishable_is_so_by_the_corrected_interval():
    found = picked(shares(190), shares(100), shares(96))
    assert found.tests == 3
    rival = found.runner_up.rival
    assert rival.is_distinguishable and rival.difference.low > 0
    # 90 wins of 200; the interval of Holm's first level of three is wider than the plain one.
    assert rival.difference.value == pytest.approx(0.45)
    assert rival.difference.low < rival.plain.low
    text = " ".join(selection_view(found).sentences)
    assert "distinguishable from dpo.2, the next best: difference +45.0 points, interval [" in text
    assert "corrected for 3 pairs" in text and "not distinguishable" not in text


def test_the_correction_is_for_every_pair_that_may_be_looked_at():
    """A difference that two variants alone show is none that six show."""
    values = [shares(100), shares(94)]
    assert picked(*values).runner_up.rival.is_distinguishable
    others = [list(np.roll(shares(88 - i), 20 * i)) for i in range(4)]
    found = picked(*values, *others)
    assert found.picked == "dpo.1" and found.tests == 15
    assert not found.combinations[1].rival.is_distinguishable
    assert found.combinations[1].rival.p_corrected > 0.05
    assert "not distinguishable from dpo.2" in " ".join(selection_view(found).sentences)


LONG = CheckSpec("response_length", max=10.0)


def with_length(number, right, length):
    one = measured(f"dpo.{number}", shares(right))
    return replace(one, metrics={**one.metrics, "response_length": Figure(length)})


def test_those_that_do_not_keep_the_checks_are_not_picked_and_not_counted():
    found = picked(
        None, None, None, keep=(LONG,), measurements=[
            *(with_length(1, 150, 11.5), with_length(2, 90, 9.0), with_length(3, 100, 10.0)),
        ],
    )  # fmt: skip
    assert (found.picked, found.next_best, found.tests) == ("dpo.3", 1, 1)
    assert [one.is_kept for one in found.combinations] == [False, True, True]
    view = selection_view(found)
    assert "1 of 3 do not keep the checks" in view.head
    assert "11.5" in view.lines[0].why and "missed by 1.5" in view.lines[0].why
    assert [line.verdict for line in view.lines] == ["not kept", "distinguishable", "picked"]


def test_where_none_keeps_the_checks_none_is_picked():
    both = [with_length(1, 150, 11.5), with_length(2, 90, 12.0)]
    assert picked(None, None, keep=(LONG,), measurements=both) is None
    unmeasured = CheckSpec("accuracy", min=0.1)
    assert picked(None, None, keep=(unmeasured,), measurements=both) is None


def test_seeds_give_a_mean_and_a_spread_and_the_first_seed_is_handed_on():
    settings = [{"beta": beta, "seed": seed} for beta in (0.1, 0.5) for seed in (3, 4, 5)]
    rights = (80, 90, 100, 110, 60, 160)
    found = picked(*map(shares, rights), settings=settings)
    assert [one.value.value for one in found.combinations] == pytest.approx([0.45, 0.55])
    assert [one.spread for one in found.combinations] == pytest.approx([0.05, 0.25])
    assert (found.chosen, found.picked) == (1, "dpo.4")
    assert found.best.variants == ("dpo.4", "dpo.5", "dpo.6") and found.tests == 1
    assert not found.runner_up.rival.is_distinguishable, "three seeds do not tell +10 points ± 25"
    sentences = " ".join(selection_view(found).sentences)
    assert "best style of 2 combinations, in the mean of 3 seeds, 55.0 % ± 25.0" in sentences
    assert "the first seed of it, 3, is handed on: style 55.0 %" in sentences


def test_a_combination_of_which_one_seed_does_not_keep_the_checks_is_not_picked():
    settings = [{"beta": beta, "seed": seed} for beta in (0.1, 0.5) for seed in (3, 4)]
    four = [with_length(1, 150, 9), with_length(2, 150, 11), with_length(3, 90, 9), with_length(4, 90, 9)]
    assert picked(*[None] * 4, keep=(LONG,), settings=settings, measurements=four).picked == "dpo.3"


def test_rows_and_seeds_both_count_in_the_error_of_seeds():
    random = np.random.default_rng(4)
    noise = random.normal(size=(60, 4))
    of_rows = crossed(noise)
    assert of_rows.value == pytest.approx(noise.mean())
    # Where seeds do nothing the error is about that of the rows' means.
    plain = stats.sem(noise.mean(axis=1))
    assert plain <= of_rows.error <= 1.5 * plain
    # Where they do, it is about that of the seeds' means, with their freedom.
    moved = crossed(noise + np.array([0.0, 3.0, -2.0, 4.0]))
    means = (noise + np.array([0.0, 3.0, -2.0, 4.0])).mean(axis=0)
    assert moved.error == pytest.approx(stats.sem(means), rel=0.05)
    assert moved.freedom == of_rows.freedom == 3
    assert moved.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=0.1)
    assert moved.at(0.95).low < 0 < moved.at(0.95).high and moved.p > 0.05


def test_what_is_left_out_of_the_choice_says_how_optimistic_it_is():
    """Of equal variants the picked value is too high, the one on other rows is not; of one that is far better
    there is nothing to choose."""
    random = np.random.default_rng(2)
    indices = [np.array([i]) for i in range(8)]
    optimism, left = [], []
    for _ in range(30):
        values = random.normal(size=(8, 60))
        best = values.mean(axis=1).max()
        found = held_out(values, np.ones_like(values), indices, is_higher_better=True, seed=3)
        optimism.append(best)
        left.append(found)
    error = 3 / math.sqrt(60 * 30)
    assert np.mean(optimism) > 0.12
    assert abs(np.mean(left)) < error
    clear = np.stack([np.full(60, 5.0), np.zeros(60)])
    assert held_out(clear, np.ones_like(clear), indices[:2], is_higher_better=True, seed=1) == 5
    assert held_out(-clear, np.ones_like(clear), indices[:2], is_higher_better=False, seed=1) == -5


def test_a_judge_s_win_rate_is_paired_by_prompt_and_at_equal_length_it_is_not_paired():
    def judged(number, wins):
        one = measured(f"dpo.{number}", shares(0))
        rows = tuple(replace(row, judged={"sft": win}) for row, win in zip(one.rows, wins, strict=True))
        rate = Figure(float(np.mean(wins)))
        return replace(one, rows=rows, metrics={"win_rate": rate, "win_rate_lc": rate})

    both = [judged(1, shares(60)), judged(2, shares(150))]
    found = picked(None, None, metric="win_rate", measurements=both)
    assert found.picked == "dpo.2" and found.runner_up.rival.is_distinguishable
    assert found.runner_up.rival.difference.value == pytest.approx(0.45)
    controlled = picked(None, None, metric="win_rate_lc", measurements=both)
    assert controlled.picked == "dpo.2" and controlled.runner_up.rival is None
    assert controlled.notes and controlled.held_out is None


def test_documents_of_a_task_are_paired_by_their_ids():
    def of_task(number, right):
        scores = {str(i): score for i, score in enumerate(shares(right))}
        one = Measurement(f"dpo.{number}", (), {"arc/acc": Figure(right / ROWS)}, SETTINGS)
        return replace(one, documents={"arc/acc": scores})

    found = picked(None, None, metric="arc/acc", measurements=[of_task(1, 60), of_task(2, 150)])
    assert found.picked == "dpo.2" and found.runner_up.rival.is_distinguishable and found.rows == ROWS


def test_rows_of_one_prompt_are_not_independent():
    one, other = shares(120), shares(100)
    apart = picked(one, other)
    both = [measured(f"dpo.{n}", of) for n, of in ((1, one), (2, other))]
    by_ten = [
        replace(m, rows=tuple(replace(row, prompt=f"p{int(row.id) // 20}") for row in m.rows)) for m in both
    ]
    together = picked(None, None, measurements=by_ten)
    assert (apart.clusters, together.clusters) == (ROWS, ROWS // 20)
    assert apart.runner_up.rival.is_distinguishable
    assert not together.runner_up.rival.is_distinguishable


def test_too_few_rows_for_a_verdict_are_said():
    found = picked([1.0, 1.0, 0.0], [0.0, 0.0, 0.0])
    assert found.picked == "dpo.1"
    assert found.runner_up.rival.verdict is Verdict.TOO_FEW
    assert "too few to tell" in " ".join(selection_view(found).sentences)


def test_what_was_picked_is_read_back_as_it_was(tmp_path):
    found = picked(shares(120), shares(100), shares(90), keep=())
    save_selection(tmp_path, found)
    assert load_selection(tmp_path) == found
    (tmp_path / "comparison.json").write_text('{"format": 2, "variants": {"stage": 1}}')
    assert load_selection(tmp_path) is None
