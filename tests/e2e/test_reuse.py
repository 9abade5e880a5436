"""What retrains a stage and what does not, and how it is told."""

import copy
import json

import pytest
from support.small import RECIPE, pt, run_here

from ptspec.events import StageReused, StageStarted
from ptspec.run.options import Options
from ptspec.store.output_hashes import CHANGED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run; each test leaves it as it found it, or says so."""
    folder = tmp_path_factory.mktemp("reuse")
    assert again(folder, lambda recipe: None) == {"sft": None, "dpo": None}
    return folder


def small_recipe(change):
    recipe = copy.deepcopy(RECIPE)
    recipe.pop("eval")
    for stage in recipe["stages"]:
        stage["config"].update(max_steps=2)
    return change(recipe) or recipe


def again(folder, change, **options):
    """Runs the recipe after `change`: stage -> "reused", or why it was trained (None: for the first time)."""
    (folder / "recipe.json").write_text(json.dumps(small_recipe(change), indent=2))
    ran = run_here(folder / "recipe.json", folder / "out", options=Options(**options))
    assert ran.error is None, ran.error
    told = {event.stage: "reused" for event in ran.events if isinstance(event, StageReused)}
    return told | {event.stage: event.reason for event in ran.events if isinstance(event, StageStarted)}


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


def with_comments(recipe):
    recipe["$comment"] = "why"
    recipe["description"] = "what"
    for stage in recipe["stages"]:
        stage["$comment"] = stage["config"]["$comment"] = "how"


def logging(recipe):
    recipe["tracking"] = {"report_to": []}
    for stage in recipe["stages"]:
        stage["config"].update(logging_steps=5, logging_first_step=True, save_steps=1, save_total_limit=1)


def other_names(recipe):
    recipe["name"] = "another"
    recipe["data"] = {"rows": recipe["data"]["train"]}
    for stage in recipe["stages"]:
        stage["data"] = "rows"


@pytest.mark.parametrize("change", [reversed_keys, with_comments, logging, other_names])
def test_what_changes_no_result_retrains_nothing(folder, change):
    assert again(folder, change) == {"sft": "reused", "dpo": "reused"}


def test_a_stage_that_is_renamed_is_not_trained_again(folder, here):
    def renamed(recipe):
        recipe["stages"][0]["name"] = "warm_up"

    before = (folder / "out" / "sft" / "adapter_model.safetensors").read_bytes()
    assert again(folder, renamed) == {"warm_up": "reused", "dpo": "reused"}
    assert not (folder / "out" / "sft").exists()
    assert (folder / "out" / "warm_up" / "adapter_model.safetensors").read_bytes() == before
    assert here("verify", folder / "out").code == 0
    assert again(folder, lambda recipe: None) == {"sft": "reused", "dpo": "reused"}


def test_a_changed_value_is_named_and_only_what_follows_is_trained_again(folder):
    def beta(recipe):
        recipe["stages"][1]["config"]["beta"] = 0.2

    assert again(folder, beta) == {"sft": "reused", "dpo": "beta unset → 0.2"}

    def rate(recipe):
        beta(recipe)
        recipe["stages"][0]["config"]["learning_rate"] = 1e-3

    reasons = again(folder, rate)
    assert reasons == {"sft": "learning_rate 0.002 → 0.001", "dpo": "sft changed"}


def test_fresh_and_until(folder):
    told = again(folder, lambda recipe: None, fresh=True, until="sft")
    assert told == {"sft": "learning_rate 0.001 → 0.002"}
    assert again(folder, lambda recipe: None, fresh=True, until="sft") == {"sft": "asked for with --fresh"}


def test_a_renamed_stage_whose_weights_are_not_those_that_were_saved_is_trained_again_as_planned(folder):
    def renamed(recipe):
        recipe["stages"][0]["name"] = "warm_up"

    assert again(folder, lambda recipe: None, until="sft") == {"sft": "reused"}
    weights = folder / "out" / "sft" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (folder / "recipe.json").write_text(json.dumps(small_recipe(renamed), indent=2))
    told = pt("plan", folder / "recipe.json", "--output", folder / "out", "--format", "json")
    planned = json.loads(told.stdout)["stages"][0]
    assert (planned["state"], planned["reason"]) == ("trained again", CHANGED)
    assert again(folder, renamed, until="warm_up") == {"warm_up": CHANGED}
