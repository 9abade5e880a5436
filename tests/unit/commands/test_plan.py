"""`pt plan` as a person and as a program read it, without a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ptspec.checks.preflight import preflight
from ptspec.cli import main
from ptspec.estimate.host import host_memory
from ptspec.estimate.planned_steps import planned_steps
from ptspec.recipe.hints import bytes_in_words

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pt(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def pt(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return pt


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe over the shipped model and the first 50 of its rows."""

    def recipe(*stages: dict, **sections: object) -> Path:
        data = {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 50}}
        adapter = {"use_lora": True, "r": 16, "target_modules": "all-linear"}
        value = {"model": str(ROOT / "data/base_model"), "adapter": adapter, "data": data, "stages": stages}
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps({**value, **sections}))
        return file

    return recipe


def stage(name: str, method: str | None = None, **rest: object) -> dict:
    return {"name": name, "method": method or name, "data": "train", **rest}


def test_the_table_names_hand_over_and_reference_in_words(pt, recipe):
    handed = [stage(f"dpo{i}", "dpo", **{"from": "sft"}) for i in range(4)]
    handed[1]["handover"] = "merge"
    handed[2]["handover"] = "stack"
    handed[3]["adapter"] = {"use_lora": False}
    code, out, _ = pt("plan", recipe(stage("sft"), *handed, stage("reward")))
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "stage method from hand-over reference data steps tokens trains memory"
    assert lines[1].startswith("sft sft base new LoRA – train 50 21 ")
    assert lines[2].startswith("dpo0 dpo sft continue sft, frozen train 50 21 ")
    assert lines[3].startswith("dpo1 dpo sft merge, new LoRA sft, frozen train 50 21 ")
    assert lines[4].startswith("dpo2 dpo sft stack sft, frozen train 50 21 ")
    assert lines[5].startswith("dpo3 dpo sft merge, full sft, frozen train 50 21 ")
    assert lines[6].startswith("reward reward base new LoRA, new head – train 50 21 ")
    assert "memory of dpo0: weights" in out
    assert "disk: sft" in out


def test_ranks_add_up_where_adapters_are_merged_or_stacked(pt, recipe):
    chain = [stage("sft"), stage("a", "dpo", handover="stack"), stage("b", "dpo", handover="merge")]
    _, out, _ = pt("plan", recipe(*chain), "--format", "json")
    sft, stacked, merged = json.loads(out)["stages"]
    assert sft["trainable_parameters"] == stacked["trainable_parameters"] == merged["trainable_parameters"]
    one = sft["disk_bytes"]["weights"]
    assert stacked["disk_bytes"]["weights"] == pytest.approx(2 * one, rel=0.02)
    assert merged["disk_bytes"]["weights"] == pytest.approx(3 * one, rel=0.02)


def test_rows_that_are_cut_are_told(pt, recipe):
    code, out, err = pt("plan", recipe(stage("sft", config={"max_length": 16})))
    assert code == 0
    assert "rows are longer than max_length 16" in out
    assert "rows-cut" in err


def test_what_is_not_known_says_why(pt, recipe):
    code, out, _ = pt("plan", recipe(stage("sft", config={"max_steps": 5}), model="owner/name"))
    assert code == 0
    assert "not known: owner/name is on the hub" in out
    code, out, _ = pt("plan", recipe(stage("sft"), data={"train": {"path": "owner/rows"}}))
    assert code == 0
    assert " ? " in out
    assert "is on the hub: its rows are counted when the run starts" in out


def test_packing_and_mixes_are_estimates(pt, recipe):
    rows = {"path": str(ROOT / "data/train.jsonl"), "limit": 40}
    data = {"a": rows, "b": {**rows, "limit": 10}, "train": {"mix": {"a": 0.5, "b": 0.5}}}
    _, out, _ = pt("plan", recipe(stage("sft"), data=data), "--format", "json")
    (mixed,) = json.loads(out)["stages"]
    assert (mixed["rows"], mixed["rows_exact"]) == (20, False)
    packed = recipe(stage("sft", config={"packing": True, "max_length": 512}))
    _, out, _ = pt("plan", packed, "--format", "json")
    (packed,) = json.loads(out)["stages"]
    assert packed["rows"] < 10
    assert not packed["rows_exact"]


def test_a_device_that_is_too_small(pt, recipe):
    code, out, _ = pt("plan", recipe(stage("sft")), "--device-memory", "24GiB")
    assert code == 0
    assert "sft: fits 25.8 GB" in out
    _, out, _ = pt("plan", recipe(stage("sft")), "--device-memory", "530MB")
    assert '"per_device_train_batch_size": ' in out
    assert "does not fit 530 MB" in out


def test_a_cpu_has_the_memory_of_this_machine(pt, recipe):
    small, huge = stage("sft"), stage("huge", "sft", config={"per_device_train_batch_size": 2**18})
    _, out, _ = pt("plan", recipe(small, huge))
    assert "estimated for the CPU" in out and "this machine has" in " ".join(out.split())
    assert "huge: does not fit" in out and '"per_device_train_batch_size": ' in out
    assert "\nsft: " not in out
    _, out, _ = pt("plan", recipe(small, huge), "--format", "json")
    assert [one["fits"] for one in json.loads(out)["stages"]] == [True, False]


def test_a_container_has_what_its_limit_leaves(tmp_path):
    limit = tmp_path / "memory.max"
    assert (whole := host_memory(limit)) is not None
    limit.write_text("123456\n")
    assert host_memory(limit) == 123456
    limit.write_text("max\n")
    assert host_memory(limit) == whole


@pytest.mark.parametrize("size", ["24", "GB", "-1GB", "0GB", "24TBs", ""])
def test_a_size_that_is_none(pt, recipe, size):
    code, out, err = pt("plan", recipe(stage("sft")), "--device-memory", size)
    assert (code, out, "is not a size" in err) == (2, "", True)


def test_a_kept_plan_replaces_a_plan_and_nothing_else(pt, recipe, tmp_path):
    file = recipe(stage("sft"))
    before = file.read_bytes()
    code, _, err = pt("plan", file, "-o", file)
    assert (code, "file-exists" in err, file.read_bytes() == before) == (2, True, True)
    for _ in range(2):
        assert pt("plan", file, "-o", tmp_path / "plan.json")[0] == 0


def test_nothing_is_planned_of_a_faulty_recipe(pt, recipe, tmp_path):
    code, out, err = pt("plan", recipe(stage("sft", data="none")), "-o", tmp_path / "plan.json")
    assert (code, out) == (2, "")
    assert "unknown-data" in err
    assert not (tmp_path / "plan.json").exists()


def test_a_dry_run_starts_nothing(pt, recipe, tmp_path):
    code, out, _ = pt("run", recipe(stage("sft")), "--dry-run")
    assert code == 0
    assert out.startswith("stage")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.json"]


def test_numbers_in_words():
    assert [bytes_in_words(n) for n in (12, 1500, 58e6, 11.3e9, 160e9)] == [
        *("12 B", "1.5 kB", "58 MB", "11.3 GB", "160 GB")
    ]


def test_parameters_are_written_as_on_the_other_screens(pt, recipe):
    """B21: the plan said 0.16 M where the run said 160 k."""
    _, out, _ = pt("plan", recipe(stage("sft")))
    assert " 0.1" not in out and re.search(r" \d+ k ", out)


def test_what_stands_below_the_table_fits_the_terminal(pt, recipe, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = pt("plan", recipe(stage("sft"), stage("dpo")))
    below = out.split("\n\n")[1].splitlines()
    assert max(map(len, below)) <= 80
    assert not any(re.search(r"\d$|^\s*[kM]?B\b", line) for line in below), "a number apart from its unit"


def test_defaults_that_are_not_trls_are_told_where_the_recipe_is_silent(pt, recipe):
    rewards = {"r": {"function": "regex", "pattern": "x"}}
    nash = stage("nash", "nash_md", rewards=["r"], config={"num_generations": 4})
    _, out, _ = pt("plan", recipe(stage("sft"), nash, rewards=rewards))
    words = " ".join(out.split())
    assert "nash: adam_beta1 0.0 (TRL: 0.9): momentum turns" in words
    assert "num_generations" not in words
    _, out, _ = pt("plan", recipe(stage("sft"), nash, rewards=rewards), "--format", "json")
    sft, nash = (told["own_defaults"] for told in json.loads(out)["stages"])
    assert sft == []
    assert [(told["name"], told["value"], told["trl"]) for told in nash] == [("adam_beta1", 0.0, 0.9)]


def test_steps_are_known_before_a_run_where_that_takes_no_long_look_at_rows(pt, recipe, tmp_path):
    stages = (stage("sft", config={"num_train_epochs": 2}), stage("dpo", config={"max_steps": 7}))
    file = recipe(*stages)
    _, out, _ = pt("plan", file, "--format", "json")
    planned = {one["stage"]: one["steps"] for one in json.loads(out)["stages"]}
    plan = preflight(file).plan
    assert planned_steps(plan) == planned == {"sft": 14, "dpo": 7}
    assert planned_steps(plan, most=0) == {"dpo": 7}
