"""`pt run outputs/x/manifest.json`: the same run again, and what is not the same any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.small import ROOT, pt_loaded, run_small, write_recipe

from ptspec.checks.manifest import read_again
from ptspec.store.manifest import open_manifest
from ptspec.store.rerun import differences

pytestmark = pytest.mark.slow

WEIGHTS = "adapter_model.safetensors"


def no_evaluation(recipe: dict) -> None:
    """A recipe that takes a second, with its data beside it."""
    del recipe["eval"]
    del recipe["data"]["heldout"]
    recipe["data"]["train"] = {"path": "rows.jsonl", "limit": 16}
    for stage in recipe["stages"]:
        stage["config"]["max_steps"] = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_run):
    """A run whose data lies beside its recipe, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(json.loads(small_run.recipe.read_text())["data"]["train"]["path"], folder / "rows.jsonl")
    run = run_small(folder, no_evaluation)
    assert run.done.code == 0, run.done.stderr
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    manifest = tmp_path / "made" / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(made), str(tmp_path / "made")))
    return tmp_path / "made"


def test_the_same_bytes_without_the_recipe_file(folder, tmp_path):
    (folder / "recipe.json").unlink()
    done = pt_loaded("run", folder / "out" / "manifest.json", "--output", "again", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "nothing differs now" in done.stderr
    for stage in ("sft", "dpo"):
        ours, theirs = (place / stage / WEIGHTS for place in (tmp_path / "again", folder / "out"))
        assert ours.read_bytes() == theirs.read_bytes()
    again = json.loads((tmp_path / "again" / "manifest.json").read_text())
    kept = json.loads((folder / "out" / "manifest.json").read_text())
    for key in ("recipe", "recipe_file", "seed", "model", "data", "versions", "environment"):
        assert again[key] == kept[key]


def test_what_differs_now_is_said(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = folder / "out" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["versions"]["trl"] = "1.2.3"
    manifest["environment"] |= {"host": "elsewhere", "device": "a GPU"}
    manifest["model"]["sha256"] = "0" * 64
    file.write_text(json.dumps(manifest))
    with (folder / "rows.jsonl").open("a") as rows:
        rows.write('{"prompt": "a", "completion": "b", "chosen": "b", "rejected": "c"}\n')
    kept = open_manifest(file.parent)
    told = differences(kept, read_again(kept, None).plan, "cpu, 1 thread")
    assert [line.split()[0] for line in told] == ["trl", "host", "device", "model", "data"]
    assert told[0].startswith("trl 1.2.3 → 1.")


def test_a_fault_is_shown_in_the_manifest(folder):
    file = folder / "out" / "manifest.json"
    file.write_text(file.read_text().replace('"per_device_train_batch_size"', '"per_device_train_batch"', 1))
    (folder / "rows.jsonl").unlink()
    done = pt_loaded("run", file)
    assert done.code == 2
    line = next(i for i, x in enumerate(file.read_text().splitlines(), 1) if '"per_device_train_batch"' in x)
    assert f"{file}:{line}:" in done.stderr
    assert "no-such-data" in done.stderr


@pytest.mark.parametrize("text", ["{}", '{"stages": {}, "recipe": 3, "format": 1}', "[", "7"])
def test_a_damaged_manifest_is_refused(folder, text):
    (folder / "out" / "manifest.json").write_text(text)
    done = pt_loaded("run", folder / "out" / "manifest.json")
    assert (done.code, "error[" in done.stderr, "bug" in done.stderr) == (2, True, False)


def test_a_manifest_without_its_run_and_set_are_refused(folder):
    shutil.copy(folder / "out" / "manifest.json", folder / "copy.json")
    assert "not-a-run" in pt_loaded("run", folder / "copy.json").stderr
    told = pt_loaded("run", folder / "out" / "manifest.json", "--set", "seed=3")
    assert (told.code, "--set changes what a run was" in told.stderr) == (2, True)


def test_a_finished_stage_with_other_weights_is_trained_again_and_damage_is_not_signed_off(folder):
    weights = folder / "out" / "sft" / WEIGHTS
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    metrics = folder / "out" / "dpo" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + "\n")
    command = ["run", write_recipe(folder, no_evaluation), "--output", folder / "out"]
    planned = pt_loaded("plan", *command[1:])
    assert "its files have changed since they were saved" in planned.stdout
    done = pt_loaded(*command, cwd=folder)
    assert done.code == 0, done.stderr
    assert weights.read_bytes() == good
    assert "dpo: metrics.jsonl changed" in pt_loaded("verify", folder / "out").stdout
