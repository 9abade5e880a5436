"""Online stages whose completions a real `vllm serve` samples: the policy arrives there at each step."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support.small import WEIGHTS, run_here, write_recipe
from support.vllm_server import BASE, needs_vllm, vllm_serving

from ptspec.diagnostics import Exit
from ptspec.events import StageStep, Warned
from ptspec.generation_server.client import GenerationServer
from ptspec.training.vllm import adapter_sync
from ptspec.training.vllm.agreement import PROBES, SAMPLED

pytestmark = [needs_vllm, pytest.mark.slow]
STEPS = 4


def online(url, method="grpo", handover=None, **config):
    def change(recipe):
        recipe.pop("eval")
        recipe["rewards"] = {"style": {"function": "regex", "pattern": "[^.!?\\n]+\\."}}
        own = {
            "learning_rate": 2e-3,
            "per_device_train_batch_size": 16,
            "num_generations": 4,
            "max_completion_length": 16,
            "max_steps": STEPS,
        }
        recipe["stages"][1] = {
            "name": "online",
            "method": method,
            "data": "train",
            "rewards": ["style"],
            "config": own | config,
        }
        if handover is not None:
            recipe["stages"][1]["handover"] = handover
        recipe["compute"] = {"vllm": {"server_base_url": url}}

    return change


def metrics(ran, stage="online"):
    lines = (ran.output / stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def logged(ran, key):
    return [entry[key] for entry in metrics(ran) if key in entry]


def told(ran):
    return [event.text for event in ran.events if isinstance(event, Warned)]


@pytest.mark.parametrize("handover", ["continue", "merge", "stack"])
def test_server_and_policy_agree_at_each_step(vllm_url, tmp_path, handover):
    ran = run_here(write_recipe(tmp_path, online(vllm_url, handover=handover)), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    differences = logged(ran, SAMPLED)
    assert len(differences) == STEPS
    assert max(differences) < 1e-3
    assert not [text for text in told(ran) if "server" in text]
    # What the server was given is taken back.
    assert len(GenerationServer(vllm_url, at="").models()) == 1
    assert not list(ran.output.rglob("served_adapters"))


def test_a_policy_that_does_not_arrive_is_told(vllm_url, tmp_path, monkeypatch):
    """Sabotage: only the first adapter is loaded."""
    once = adapter_sync.ServedAdapter.replace

    def replace(self, write):
        if self._number == 0:
            once(self, write)

    monkeypatch.setattr(adapter_sync.ServedAdapter, "replace", replace)
    ran = run_here(write_recipe(tmp_path, online(vllm_url)), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    assert max(logged(ran, SAMPLED)) > 1e-2
    assert [text for text in told(ran) if "does not sample from the policy as it is" in text]


def test_a_server_of_other_weights_ends_the_run_before_the_first_step(vllm_url, tmp_path):
    """The stage stands on whole weights that were trained; the server has the base's."""

    def change(recipe):
        online(vllm_url)(recipe)
        recipe["stages"][0]["adapter"] = {"use_lora": False}
        recipe["stages"][0]["config"]["learning_rate"] = 1e-3

    ran = run_here(write_recipe(tmp_path, change), tmp_path / "out")
    assert "another-policy" in ran.told
    assert f"vllm serve {ran.output / 'sft'}" in ran.told
    assert str(BASE) in ran.told


@pytest.mark.parametrize("opponent", ["ema", "weight_mixture"])
def test_opponents_of_nash_md_are_served_beside_the_policy(vllm_url, tmp_path, opponent):
    change = online(vllm_url, "nash_md", opponent=opponent, ema_decay=0.5, probe_steps=2)
    ran = run_here(write_recipe(tmp_path, change), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    assert len(logged(ran, PROBES)) == STEPS
    assert max(logged(ran, PROBES)) < 1e-3
    assert logged(ran, "opponents/mean_length")
    assert len(GenerationServer(vllm_url, at="").models()) == 1


def test_a_server_that_dies_ends_the_run_and_the_same_command_goes_on(tmp_path):
    with vllm_serving(BASE, tmp_path / "first.log") as first:
        change = online(first.url, max_steps=3, save_steps=1)

        def kill(event):
            if getattr(event, "step", None) == 2 and getattr(event, "stage", "") == "online":
                first.kill()

        ran = run_here(write_recipe(tmp_path, change), tmp_path / "out", kill)
    assert "generation-server" in ran.told
    assert "cannot be reached" in ran.told
    assert "online is saved up to step 2; the same command resumes" in ran.told
    with vllm_serving(BASE, tmp_path / "second.log") as second:
        again = run_here(write_recipe(tmp_path, online(second.url, max_steps=3, save_steps=1)), ran.output)
    assert again.error is None, again.error.diagnostics
    assert again.resumed["online"] == 2


BY_REWARD = {"eval_steps": 1, "load_best_model_at_end": True, "metric_for_best_model": "eval_reward"}


def measured_by(url, **config):
    """A stage that is measured on completions of held-out prompts, by the server too."""

    def change(recipe):
        online(url, **config)(recipe)
        recipe["data"]["heldout"]["limit"] = 4
        recipe["stages"][1]["eval_data"] = "heldout"

    return change


def stopping_at(step):
    def hear(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == ("online", step):
            os.kill(os.getpid(), signal.SIGTERM)

    return hear


def recipe_in(folder, change):
    folder.mkdir()
    return write_recipe(folder, change)


def test_the_best_step_goes_by_the_reward_of_what_the_server_samples(vllm_url, tmp_path):
    """Which draws what it would have drawn, in training and evaluation, with a stop in between or without
    an evaluation."""
    given = {"learning_rate": 2e-2, "max_steps": 5, "num_generations_eval": 4, **BY_REWARD}
    recipe = recipe_in(tmp_path / "a", measured_by(vllm_url, **given))
    ran = run_here(recipe, tmp_path / "whole")
    assert ran.error is None, ran.error.diagnostics
    values = {line["step"]: line["eval_reward"] for line in metrics(ran) if "eval_reward" in line}
    best = max(values, key=lambda step: (values[step], -step))
    assert len(values) == 5 and best < 5, "it is past its best step when it ends"
    folder = ran.output / "online"
    saved = (folder / "checkpoints" / f"checkpoint-{best}" / WEIGHTS).read_bytes()
    assert (folder / WEIGHTS).read_bytes() == saved
    assert json.loads((folder / "stage.json").read_text())["best"]["step"] == best
    of_evaluation = logged(ran, f"eval_{SAMPLED}")
    assert len(of_evaluation) == 5 and max(of_evaluation) < 1e-3, "what it is measured by is this policy"

    assert run_here(recipe, tmp_path / "out", stopping_at(2)).error.exit is Exit.INTERRUPTED
    again = run_here(recipe, tmp_path / "out")
    assert again.resumed["online"] == 3
    plain = online(vllm_url, **{name: given[name] for name in ("learning_rate", "max_steps")})
    alone = run_here(recipe_in(tmp_path / "b", plain), tmp_path / "alone")
    rewards = logged(ran, "reward")
    assert len(rewards) == 5
    for other in (again, alone):
        assert logged(other, "reward") == pytest.approx(rewards, abs=1e-6)
    found = {line["step"]: line["eval_reward"] for line in metrics(again) if "eval_reward" in line}
    assert found == pytest.approx(values, abs=1e-6)
