"""`comparison.json`: written, read back, and made again where it is of something else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.measurements import made

from ptspec.evaluation.comparison_store import (
    COMPARISON,
    FORMAT,
    comparison_of,
    load_comparison,
    save_comparison,
)
from ptspec.evaluation.measurement import JudgeStamp
from ptspec.evaluation.paired.compare import compare


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(1)
    found = []
    for name in ("sft", "dpo"):
        one = made(name, rng.random(60) < 0.7, rng.integers(2, 9, 60), nll=rng.gamma(3, 1, 60),
                   style=rng.random(60))  # fmt: skip
        rows = tuple(replace(r, slices={"topic": "ab"[i % 2]}) for i, r in enumerate(one.rows))
        found.append(replace(one, rows=rows, fingerprint=f"print of {name}"))
    return found


def test_what_is_written_is_read_back(pair, tmp_path):
    found = compare(pair, by="topic")
    save_comparison(tmp_path, found)
    assert load_comparison(tmp_path) == found
    effect = json.loads((tmp_path / COMPARISON).read_text())["effects"][0]
    assert {"metric", "difference", "plain", "p", "p_corrected", "verdict", "is_tested", "rows", "clusters",
            "mde"} <= set(effect)  # fmt: skip
    assert effect["verdict"] in ("better", "worse", "no difference shown")


def test_few_prompts_are_written_too(pair, tmp_path):
    found = compare(pair, prompts=3)
    save_comparison(tmp_path, found)
    assert load_comparison(tmp_path) == found


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: {**found, "format": FORMAT - 1},
        lambda found: {**found, "effects": 3},
        lambda found: {**found, "effects": [{}]},
        lambda found: {**found, "effects": [{**found["effects"][0], "verdict": "sublime"}]},
        lambda found: {**found, "effects": [{**found["effects"][0], "rows": True}]},
        lambda found: {**found, "names": [1, 2]},
        lambda found: {key: value for key, value in found.items() if key != "shared"},
        lambda found: [],
        lambda found: None,
    ],
)
def test_another_version_or_damage_is_no_comparison(pair, tmp_path, damage):
    save_comparison(tmp_path, compare(pair))
    changed = damage(json.loads((tmp_path / COMPARISON).read_text()))
    (tmp_path / COMPARISON).write_text("{" if changed is None else json.dumps(changed))
    assert load_comparison(tmp_path) is None


def test_none_where_there_is_none(tmp_path):
    assert load_comparison(tmp_path) is None


def test_a_stored_comparison_is_taken_where_it_is_of_these_two(pair):
    before, after = pair
    stored = replace(compare(pair), notes=("stored",))
    assert comparison_of(before, after, stored) is stored
    assert comparison_of(before, after, None) == compare(pair)
    assert comparison_of(before, replace(after, fingerprint="another"), stored).notes == ()
    assert comparison_of(before, replace(after, fingerprint=None), stored).notes == ()
    strangers = replace(after, rows=tuple(replace(r, id=f"x{r.id}") for r in after.rows))
    assert comparison_of(before, strangers) is None


def test_what_the_judge_said_when_it_was_measured_is_tested(pair):
    before, after = pair
    rows = tuple(replace(r, judged={"sft": float(i % 5 > 0)}) for i, r in enumerate(after.rows))
    judged = replace(after, rows=rows, judge=JudgeStamp("fair", 60, 0))
    (rate,) = comparison_of(before, judged).win_rates
    assert (rate.judge, rate.rate.value, rate.is_tested) == ("fair", 0.8, True)
    assert rate.verdict.value == "better"
