"""Rewards that a column of the rows chooses: who pays which row, what is logged, what is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptspec.diagnostics import StageError
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.reward_parts import measured_rewards, rewards_of
from ptspec.rewards.build import measured_builtins, measured_functions, no_model, reward_functions
from ptspec.store.content_hashes import Hashes
from ptspec.store.fingerprint import ingredients

BASE = Path(__file__).parent.parent.parent.parent / "data" / "base_model"

REWARDS = {
    "number": {"function": "numeric_answer", "column": "gold", "weight": 0.5},
    "words": {"function": "contains_answer", "column": "gold"},
    "short": {"function": "length", "max": 3},
    "verify": {"by": "kind", "rewards": {"math": "number", "town": "words"}, "weight": 10},
}

ROWS = {
    "completions": ["it is 4", "in Tarn", "it is 5", "in Rome"],
    "kind": ["math", "town", "math", "town"],
    "gold": ["4", "Tarn", "4", "Tarn"],
}


def plan_of(folder, rewards=REWARDS, names=("verify",), **more):
    rows = [{"prompt": f"q{n}", "kind": "math", "gold": "1"} for n in range(8)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "model": {"path": str(BASE)},
        "data": {"rows": {"path": str(folder / "rows.jsonl")}},
        "rewards": rewards,
        "stages": [{"name": "grpo", "method": "grpo", "data": "rows", "rewards": list(names)}],
        **more,
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return load_plan(folder / "recipe.json")


def paid(plan, name="verify", **given):
    (reward,) = reward_functions(plan, [name], strings=True, allow_code=True, open_model=no_model)
    return reward(**{"prompts": ["q"] * len(given["completions"]), **given})


def test_each_row_is_paid_by_its_own_reward_with_its_weight(tmp_path):
    assert paid(plan_of(tmp_path), **ROWS) == [0.5, 1, 0, 0]


def test_a_part_gets_its_own_rows_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def town(prompts, completions, gold, kind, trainer_state, log_extra, log_metric):\n"
        "    assert set(kind) == {'town'} and len(prompts) == len(gold) == 2\n"
        "    log_extra('gold', gold)\n"
        "    log_metric('towns', 2)\n"
        "    return [None, 3]\n"
    )
    mine = {"function": str(tmp_path / "mine.py:town")}
    plan = plan_of(tmp_path, {**REWARDS, "words": mine})
    logged, extra = {}, {}
    hooks = {"log_metric": logged.__setitem__, "log_extra": extra.__setitem__, "trainer_state": None}
    assert paid(plan, **ROWS, **hooks) == [0.5, None, 0, 3]
    assert logged == {"rewards/verify/number": 0.5, "towns": 2, "rewards/verify/words": 3}
    assert extra == {"gold": [None, "Tarn", None, "Tarn"]}


@pytest.mark.parametrize(("otherwise", "expected"), [(None, None), ("short", 1)])
def test_other_values_are_paid_as_the_recipe_says(tmp_path, otherwise, expected):
    verify = {**REWARDS["verify"], "otherwise": otherwise}
    plan = plan_of(tmp_path, {**REWARDS, "verify": verify})
    rows = {"completions": ["it is 4"] * 3, "kind": ["math", "chat", None], "gold": ["4"] * 3}
    assert paid(plan, **rows) == [0.5, expected, expected]


def test_a_value_that_the_recipe_does_not_tell_of_stops_the_stage(tmp_path):
    plan = plan_of(tmp_path)
    with pytest.raises(StageError) as caught:
        paid(plan, completions=["4"], kind=["chat"], gold=["4"])
    (told,) = caught.value.diagnostics
    assert told.code == "no-reward-for-value" and '"chat" in the column "kind"' in told.message
    with pytest.raises(StageError) as caught:
        paid(plan, completions=["4"], gold=["4"])
    assert caught.value.diagnostics[0].code == "missing-column"


@pytest.mark.parametrize("value", [3, True, ["math"]])
def test_values_that_are_no_texts_are_written_as_json(tmp_path, value):
    verify = {"by": "kind", "rewards": {json.dumps(value): "words"}}
    plan = plan_of(tmp_path, {**REWARDS, "verify": {**verify, "otherwise": None}})
    assert paid(plan, completions=["in Tarn"], kind=[value], gold=["Tarn"]) == [1]


def test_an_evaluation_measures_the_choice_and_each_part_on_its_rows(tmp_path):
    plan = plan_of(tmp_path)
    functions = measured_functions(plan, allow_code=False)
    given = {**ROWS, "prompts": ["q"] * 4}
    assert list(functions) == ["number", "words", "short", "verify"]
    assert functions["verify"](**given) == [0.5, 1, 0, 0]
    assert functions["number"](**given) == [1, None, 0, None]
    assert functions["words"](**given) == [None, 1, None, 0]
    assert functions["short"](**given) == [1, 1, 1, 1]
    others = {"prompts": ["q"], "completions": ["4"], "kind": ["chat"], "gold": ["4"]}
    assert functions["verify"](**others) == functions["number"](**others) == [None]


def test_the_part_that_pays_other_rows_is_measured_on_those(tmp_path):
    verify = {"by": "kind", "rewards": {"math": "number"}, "otherwise": "words"}
    functions = measured_functions(plan_of(tmp_path, {**REWARDS, "verify": verify}), allow_code=False)
    assert functions["words"](**ROWS, prompts=["q"] * 4) == [None, 1, None, 0]


def test_what_a_stage_names_itself_is_measured_on_every_row(tmp_path):
    functions = measured_functions(plan_of(tmp_path, names=("verify", "words")), allow_code=False)
    assert functions["words"](**ROWS, prompts=["q"] * 4) == [1, 1, 0, 0]


def test_without_leave_for_code_a_choice_of_it_is_not_measured(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def town(completions, **columns):\n    return [0] * len(completions)\n"
    )
    mine = {"function": str(tmp_path / "mine.py:town")}
    plan = plan_of(tmp_path, {**REWARDS, "words": mine})
    assert list(measured_builtins(plan.rewards, ())) == ["number", "short"]


def test_models_among_the_parts_count_as_the_stages_own(tmp_path):
    rewards = {**REWARDS, "liked": {"model": "owner/model"}}
    rewards["verify"] = {"by": "kind", "rewards": {"math": "number"}, "otherwise": "liked"}
    plan = plan_of(tmp_path, rewards)
    assert rewards_of(plan.stages[0], plan.judges, plan.rewards) == ("verify", "number", "liked")
    assert list(measured_rewards(plan)) == ["number", "words", "short"]


def covered(plan):
    return ingredients(plan, plan.stages[0], "parent", Hashes(plan))["signals"]


def test_a_fingerprint_covers_the_parts_and_only_a_choice_has_one_of_columns(tmp_path):
    plan = plan_of(tmp_path)
    chosen, number, words = covered(plan)
    assert chosen["by"]["rewards"] == {"math": "number", "town": "words"}
    assert "by" not in number and words["function"] == "contains_answer"
    changed = plan_of(tmp_path, {**REWARDS, "words": {"function": "exact_match", "column": "gold"}})
    assert covered(changed) != covered(plan)
