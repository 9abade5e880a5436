"""Stages named across recipes, branches, and folders that are moved."""

import shutil

import pytest
import torch
from support.small import ROOT, pt_loaded, run_small, write_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def few_rows(tmp_path):
    rows = tmp_path / "few.jsonl"
    rows.write_text("".join((ROOT / "data/eval.jsonl").read_text().splitlines(keepends=True)[:8]))
    return rows


def weights(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


def test_one_recipe_or_two_give_the_same_bytes(small_run, tmp_path):
    """The first of them stops with --until."""

    def from_the_first(recipe):
        del recipe["stages"][0], recipe["eval"]
        recipe["stages"][0]["from"] = str(tmp_path / "a" / "sft")

    recipe = write_recipe(tmp_path, lambda recipe: recipe.pop("eval"))
    first = pt_loaded("run", recipe, "--output", tmp_path / "a", "--until", "sft")
    assert first.code == 0, first.stderr
    assert not (tmp_path / "a" / "dpo").exists()
    assert pt_loaded("run", recipe, "--until", "stf").code == 2
    second = pt_loaded("run", write_recipe(tmp_path, from_the_first), "--output", tmp_path / "b")
    assert second.code == 0, second.stderr
    assert weights(tmp_path / "a" / "sft") == weights(small_run.output / "sft")
    assert weights(tmp_path / "b" / "dpo") == weights(small_run.output / "dpo")


def test_a_run_that_was_moved_is_still_whole(small_run, few_rows, tmp_path):
    from peft import AutoPeftModelForCausalLM

    shutil.copytree(small_run.output, tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere"
    model = AutoPeftModelForCausalLM.from_pretrained(moved / "dpo")
    assert torch.isfinite(model(torch.arange(10, 20)[None]).logits).all()
    measured = pt_loaded("eval", moved / "sft", moved / "dpo", "--data", few_rows, "--max-new-tokens", 4)
    assert measured.code == 0, measured.stderr
    again = pt_loaded("run", small_run.recipe, "--output", moved)
    assert again.code == 0, again.stderr
    assert "training" not in again.stderr


def test_an_adapter_over_a_full_stage_is_found_again_after_a_move(few_rows, tmp_path):
    def full_then_lora(recipe):
        recipe.pop("eval")
        recipe["stages"][0]["adapter"] = {"use_lora": False}
        recipe["stages"][0]["config"]["learning_rate"] = 1e-4

    run = run_small(tmp_path, full_then_lora)
    assert run.done.code == 0, run.done.stderr
    assert run.record("dpo")["checks"]["policy_to_handed_over"] < 1e-5
    run.output.rename(tmp_path / "moved")
    done = pt_loaded("eval", tmp_path / "moved" / "dpo", "--data", few_rows, "--max-new-tokens", 4)
    assert done.code == 0, done.stderr


def test_branches_from_one_stage_each_have_it_as_their_reference(tmp_path):
    def branches(recipe):
        recipe.pop("eval")
        kto = {"name": "kto", "method": "kto", "data": "train", "from": "sft"}
        kto["config"] = {"max_steps": 2, "per_device_train_batch_size": 4}
        recipe["stages"] = [*recipe["stages"], kto]

    run = run_small(tmp_path, branches)
    assert run.done.code == 0, run.done.stderr
    for stage in ("dpo", "kto"):
        assert run.record(stage)["parent"] == "sft"
        assert run.record(stage)["reference"] == "sft, frozen"
        assert run.record(stage)["checks"]["policy_to_reference"] < 1e-5
