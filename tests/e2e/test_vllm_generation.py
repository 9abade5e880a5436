"""Online stages whose completions a real `vllm serve` samples: the policy arrives there at each step."""

from __future__ import annotations

import json

import pytest
from small import run_here, write_recipe
from vllm_server import BASE, needs_vllm, vllm_serving

from ptspec.events import Warned
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
    assert "online is saved up to step 2; the same command goes on" in ran.told
    with vllm_serving(BASE, tmp_path / "second.log") as second:
        again = run_here(write_recipe(tmp_path, online(second.url, max_steps=3, save_steps=1)), ran.output)
    assert again.error is None, again.error.diagnostics
    assert again.resumed["online"] == 2
