"""`pt plan` against what a real run of the same recipe wrote, reported and would reuse."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.small import ROOT, pt_loaded, run_small

pytestmark = pytest.mark.slow


def planned(small_run, *options) -> dict[str, dict]:
    told = pt_loaded("plan", small_run.recipe, "--output", small_run.output, "--format", "json", *options)
    assert told.code == 0, told.stderr
    return {stage["stage"]: stage for stage in json.loads(told.stdout)["stages"]}


def assert_as_planned(run):
    for name, stage in planned(run).items():
        record, folder = run.record(name), run.output / name
        assert stage["trainable_parameters"] == record["trainable_parameters"]
        assert stage["steps"] == record["steps"]
        assert stage["disk_bytes"]["weights"] == (folder / "adapter_model.safetensors").stat().st_size
        checkpoints = list((folder / "checkpoints").glob("checkpoint-*"))
        assert stage["disk_bytes"]["checkpoints"] == len(checkpoints)
        weights = sum(file.stat().st_size for file in checkpoints[0].rglob("*.safetensors"))
        assert stage["disk_bytes"]["checkpoint"] == weights


def test_parameters_steps_and_bytes_are_those_of_the_run(small_run):
    assert_as_planned(small_run)


def test_a_chain_of_pissa_ends_as_planned(tmp_path):
    def pissa(recipe):
        recipe.pop("eval")
        recipe["adapter"]["init_lora_weights"] = "pissa"
        del recipe["stages"][0]["config"]["learning_rate"]
        third = {"name": "merged", "handover": "merge"}
        recipe["stages"] += [{**recipe["stages"][1], **third}]

    run = run_small(tmp_path, pissa)
    assert run.done.code == 0, run.done.stderr
    assert_as_planned(run)
    for name in ("dpo", "merged"):
        assert run.metrics(name)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    exported = pt_loaded("export", run.output / "merged", tmp_path / "exported")
    assert exported.code == 0, exported.stderr


def test_tokens_of_whole_epochs_are_those_that_trl_counts(tmp_path):
    recipe = json.loads((ROOT / "recipes" / "sft.json").read_text())
    recipe["model"]["path"] = str(ROOT / "data/base_model")
    recipe["data"] = {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 40}}
    recipe["stages"][0]["config"] = {"num_train_epochs": 2, "per_device_train_batch_size": 16}
    del recipe["eval"]
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    told = json.loads(pt_loaded("plan", file, "--output", tmp_path / "out", "--format", "json").stdout)
    assert pt_loaded("run", file, "--output", tmp_path / "out").code == 0
    metrics = [json.loads(x) for x in (tmp_path / "out/sft/metrics.jsonl").read_text().splitlines()]
    assert told["stages"][0]["tokens"] == max(step.get("num_tokens", 0) for step in metrics)
    assert told["stages"][0]["steps"] == 6


def test_what_would_be_reused_and_why_not(small_run):
    assert {stage["state"] for stage in planned(small_run).values()} == {"reused"}
    changed = planned(small_run, "--set", "stages.dpo.config.beta=0.2")
    assert changed["sft"]["state"] == "reused"
    assert changed["dpo"]["state"] == "trained again"
    assert "beta unset → 0.2" in changed["dpo"]["reason"]
    all_of_it = planned(small_run, "--set", "stages.sft.config.learning_rate=0.001")
    assert all_of_it["sft"]["reason"] == "learning_rate 0.002 → 0.001"
    assert all_of_it["dpo"]["reason"] == "sft changes"


def test_a_dry_run_says_that_fresh_trains_again(small_run):
    told = pt_loaded("run", small_run.recipe, "--output", small_run.output, "--dry-run", "--fresh")
    assert told.code == 0
    assert told.stdout.count("asked for with --fresh") == 2


def test_a_kept_plan_runs_or_says_what_has_changed(small_run, tmp_path):
    kept = tmp_path / "plan.json"
    recipe = tmp_path / "recipe.json"
    recipe.write_text(small_run.recipe.read_text())
    assert pt_loaded("plan", recipe, "--output", small_run.output, "-o", kept).code == 0
    assert "= reused" in pt_loaded("run", kept, "--dry-run").stdout
    recipe.write_text(recipe.read_text().replace('"max_steps": 4', '"max_steps": 5'))
    told = pt_loaded("run", kept)
    assert told.code == 2
    assert "plan-outdated" in told.stderr
    assert "dpo: max_steps 4 → 5" in told.stderr
    assert not Path(tmp_path / "outputs").exists()
