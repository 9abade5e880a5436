"""GRPO by rewards that a column chooses, on the shipped base; rows that were not all looked at before."""

import json

import pytest
from datasets import Dataset
from support.small import ROOT, run_here

from ptspec.diagnostics import InputError
from ptspec.recipe.resolve import load_plan
from ptspec.run.reward_rows import check_reward_rows

REWARDS = {
    "short": {"function": "length", "max": 1},
    "long": {"function": "length", "target": 30, "weight": 0.5},
    "verify": {"by": "kind", "rewards": {"a": "short", "b": "long"}, "weight": 10},
}


@pytest.fixture
def recipe(tmp_path):
    rows = [{"prompt": f"Where is town {n}?", "kind": "ab"[n % 2]} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"max_steps": 1, "num_generations": 2, "max_completion_length": 4, "logging_steps": 1}
    stage = {"name": "grpo", "method": "grpo", "data": "rows", "rewards": ["verify"]}
    given = {
        "name": "by_column",
        "model": {"path": str(ROOT / "data/base_model")},
        "adapter": {"use_lora": True, "r": 4, "target_modules": "all-linear"},
        "data": {"rows": {"path": str(tmp_path / "rows.jsonl")}},
        "rewards": REWARDS,
        "stages": [{**stage, "config": {**config, "per_device_train_batch_size": 8}}],
    }
    (tmp_path / "recipe.json").write_text(json.dumps(given))
    return tmp_path / "recipe.json"


def test_a_stage_logs_what_each_part_paid(recipe, tmp_path):
    ran = run_here(recipe, tmp_path / "run")
    assert ran.error is None
    logged = [json.loads(line) for line in (tmp_path / "run/grpo/metrics.jsonl").read_text().splitlines()]
    (step,) = [one for one in logged if "rewards/verify/mean" in one]
    short, long = step["rewards/verify/short"], step["rewards/verify/long"]
    assert 0 < short <= 1 and 0 < long < 1
    # Four prompts in two completions each: as many rows of one kind as of the other is not sure.
    sums = [(a * short + (8 - a) * 0.5 * long) / 8 for a in range(0, 9, 2)]
    assert any(step["rewards/verify/mean"] == pytest.approx(value, abs=1e-4) for value in sums)
    assert step["reward"] == pytest.approx(10 * step["rewards/verify/mean"], abs=1e-3)


def test_a_row_of_another_value_stops_a_stage_before_its_first_step(recipe):
    plan = load_plan(recipe)
    rows = Dataset.from_list([{"prompt": "q", "kind": kind} for kind in ("a", "b", "c")])
    with pytest.raises(InputError) as caught:
        check_reward_rows(plan, plan.stages[0], rows)
    (told,) = caught.value.diagnostics
    assert told.code == "no-reward-for-value" and '"c"' in told.message
    assert told.notes[0].startswith("row 3: ")
    check_reward_rows(plan, plan.stages[0], rows.select([0, 1]))
