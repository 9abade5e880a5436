"""A recipe that changes while a stage is half made: what a step learns from decides whether it goes on."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from support.small import WEIGHTS, run_here, undisturbed_weights, write_recipe

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import Exit
from ptspec.events import StageStep, Warned
from ptspec.recipe.plan import Plan
from ptspec.run.options import Options
from ptspec.store.reuse import reuses

pytestmark = pytest.mark.slow

STOP = 5


def recipe_with(stages=1, **config):
    def change(recipe):
        recipe.pop("eval")
        recipe["stages"] = recipe["stages"][:stages]
        recipe["data"]["train"]["limit"] = 42  # five steps and a bit: the last of an epoch is a short one
        for stage in recipe["stages"]:
            stage["config"] |= {"max_steps": 13, "save_steps": 100, **config}

    return change


def stopping(event):
    if isinstance(event, StageStep) and event.step == STOP - 1:
        signal.raise_signal(signal.SIGTERM)


def told(ran):
    return [event.text for event in ran.events if isinstance(event, Warned)]


def plan_of(recipe: Path, output: Path) -> Plan:
    plan = preflight(recipe, (), output).plan
    assert plan is not None
    return plan


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, recipe_with())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped in the middle of its stage, to be copied."""
    folder = tmp_path_factory.mktemp("stopped")
    ran = run_here(write_recipe(folder, recipe_with()), folder / "out", stopping)
    assert ran.error.exit is Exit.INTERRUPTED
    return folder


@pytest.fixture
def half_made(stopped, tmp_path):
    """A copy of that: the run's folder."""
    shutil.copytree(stopped, tmp_path / "half")
    return tmp_path / "half" / "out"


@pytest.mark.parametrize(
    "config",
    [
        {"gradient_checkpointing": True},
        {"logging_steps": 3, "save_steps": 2, "save_total_limit": 5, "disable_tqdm": True},
    ],
    ids=["gradient checkpointing", "logging and saving"],
)
def test_what_changes_no_number_goes_on_to_the_same_bytes(half_made, undisturbed, config):
    config.pop("disable_tqdm", None)
    again = run_here(write_recipe(half_made.parent, recipe_with(**config)), half_made)
    assert again.weights == undisturbed
    assert again.resumed == {"sft": STOP} and told(again) == []


def test_another_cut_of_the_same_rows_goes_on(half_made, undisturbed):
    """The numbers are those of the whole run but for the order in which they are summed up."""
    rows, passes = 4, 2
    cut = recipe_with(per_device_train_batch_size=rows, gradient_accumulation_steps=passes)
    again = run_here(write_recipe(half_made.parent, cut), half_made)
    assert again.resumed == {"sft": STOP}
    assert told(again) == [f"from step 6 on a pass has {rows} rows, not 8; a step learns from the same rows"]
    expected, found = load(undisturbed["sft"]), load(again.weights["sft"])
    farthest = max((expected[name] - found[name]).abs().max().item() for name in expected)
    assert farthest < 1e-5, farthest  # another row in one step: 1e-3
    whole = run_here(write_recipe(half_made.parent, cut), half_made.parent / "whole")
    steps = half_made / "sft" / "metrics.jsonl", whole.output / "sft" / "metrics.jsonl"
    losses = [[json.loads(line)["loss"] for line in path.read_text().splitlines()] for path in steps]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-5)


def test_other_settings_set_what_is_half_made_aside_and_the_old_ones_take_it_up(half_made, undisturbed, here):
    folder = half_made.parent
    kept = {path.name: path.read_bytes() for path in (half_made / ".sft.partial").rglob("*.safetensors")}
    assert kept
    other = write_recipe(folder, recipe_with(learning_rate=1e-3))
    (planned,) = reuses(plan_of(other, half_made)).values()
    assert planned.reason == "what is half made is set aside: learning_rate 0.002 → 0.001"
    again = run_here(other, half_made, stopping)
    (text,) = told(again)
    assert "out/sft.set-aside-1 (" in text and " deletes it): learning_rate 0.002 → 0.001" in text
    aside = half_made / "sft.set-aside-1"
    assert {path.name: path.read_bytes() for path in aside.rglob("*.safetensors")} == kept
    assert again.resumed == {"sft": 0}

    first = write_recipe(folder, recipe_with())
    (planned,) = reuses(plan_of(first, half_made)).values()
    assert planned.reason == f"step {STOP}, in sft.set-aside-1"
    back = run_here(first, half_made)
    assert back.resumed == {"sft": STOP} and back.weights == undisturbed
    assert [text.partition(" in ")[0] for text in told(back)] == [
        "what was half made is set aside",
        "goes on with what was set aside",
    ]
    assert not (half_made / "sft.set-aside-1").exists()
    assert (half_made / "sft.set-aside-2" / "checkpoints").is_dir(), "the other settings' work"
    assert here("verify", half_made).code == 0


def test_a_finished_stage_is_set_aside_by_other_settings_and_taken_up_by_the_old_ones(
    tmp_path, undisturbed, here
):
    output, first, other = tmp_path / "out", recipe_with(), recipe_with(learning_rate=1e-3)
    assert run_here(write_recipe(tmp_path, first), output).weights == undisturbed
    changed = run_here(write_recipe(tmp_path, other), output)
    (text,) = told(changed)
    aside = output / "sft.set-aside-1"
    assert text.startswith("what was finished with other settings is set aside in ")
    assert text.endswith("sft.set-aside-1 deletes it)") and "rm -r " in text
    assert (aside / WEIGHTS).read_bytes() == undisturbed["sft"]
    assert (output / "sft" / WEIGHTS).read_bytes() != undisturbed["sft"]
    assert here("verify", output).code == 0

    recipe = write_recipe(tmp_path, first)
    (planned,) = reuses(plan_of(recipe, output)).values()
    assert planned.reason == "its evaluation, in sft.set-aside-1"
    back = run_here(recipe, output)
    assert back.weights == undisturbed and back.resumed == {}
    assert not {".saved.json", ".fingerprint.json"} & {path.name for path in (output / "sft").iterdir()}
    assert (aside / WEIGHTS).is_file(), "the other settings' work"

    damaged = aside / WEIGHTS
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert run_here(write_recipe(tmp_path, other), output).resumed == {"sft": 0}, "trained anew"
    anew = Options(allow_code=True, fresh=True)
    fresh = run_here(write_recipe(tmp_path, first), output, options=anew)
    assert fresh.weights == undisturbed and fresh.resumed == {"sft": 0}


def test_a_shorter_recipe_names_the_stages_that_it_leaves(tmp_path):
    output = tmp_path / "out"
    assert run_here(write_recipe(tmp_path, recipe_with(stages=2)), output).error is None
    weights = (output / "dpo" / WEIGHTS).read_bytes()
    shorter = run_here(write_recipe(tmp_path, recipe_with()), output)
    (text,) = told(shorter)
    assert text.startswith("stages that the recipe no longer has are left as they are: ")
    assert text.endswith("out/dpo")
    assert (output / "dpo" / WEIGHTS).read_bytes() == weights
    assert told(run_here(write_recipe(tmp_path, recipe_with(stages=2)), output)) == []
