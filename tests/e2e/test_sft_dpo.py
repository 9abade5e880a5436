"""One recipe, SFT then DPO, end to end: what it leaves, and what a user can rely on."""

import json
import math
import re
import shutil

import pytest
from support.small import ROOT, WEIGHTS, one_stage, pt_loaded, run_here, run_small, write_recipe

pytestmark = pytest.mark.slow

SIX_FILES = {
    "training_curves.png",
    "perplexity_distribution.png",
    "response_lengths.png",
    "model_comparison.png",
    "evaluation_stats.json",
    "sample_responses.json",
}


def test_the_folder_of_the_contract(small_run):
    names = {path.name for path in small_run.output.iterdir()}
    assert {"manifest.json", "events.jsonl", "base", "sft", "dpo"} <= names
    for stage in ("sft", "dpo"):
        files = {path.name for path in (small_run.output / stage).iterdir()}
        wanted = {"adapter_model.safetensors", "adapter_config.json", "stage.json", "metrics.jsonl"}
        assert SIX_FILES | wanted <= files
        assert any("tokenizer" in name for name in files)
    assert SIX_FILES - {"training_curves.png"} <= {p.name for p in (small_run.output / "base").iterdir()}


def test_the_first_dpo_step_has_the_policy_as_its_reference(small_run):
    first = small_run.metrics("dpo")[0]
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert small_run.metrics("dpo")[-1]["rewards/margins"] != 0


def test_every_logged_step_is_in_the_metrics(small_run):
    assert [row["step"] for row in small_run.metrics("sft")] == list(range(1, 7))
    assert [row["step"] for row in small_run.metrics("dpo")] == list(range(1, 5))


def test_stages_load_with_one_line_of_plain_peft_and_are_what_was_measured(small_run):
    from peft import AutoPeftModelForCausalLM

    from ptspec.data.layouts.evaluation import evaluation_row
    from ptspec.evaluation.measure import measure
    from ptspec.evaluation.store import load_measurement
    from ptspec.model.base import load_tokenizer
    from ptspec.recipe.plan import EvaluationSpec, ModelSpec

    losses = []
    for stage in ("sft", "dpo"):
        folder = small_run.output / stage
        model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = load_tokenizer(ModelSpec(str(folder), local=True))
        lines = (ROOT / "data/eval.jsonl").read_text().splitlines()[:16]
        rows = [json.loads(line) for line in lines]
        spec = EvaluationSpec("heldout", metrics=("loss",), max_new_tokens=1)
        measured = measure(model, tokenizer, [evaluation_row(row) for row in rows], spec, seed=7)
        stored = load_measurement(folder).metrics["loss"].value
        assert measured.metrics["loss"].value == pytest.approx(stored, abs=1e-5)
        losses.append(stored)
    assert losses[0] != losses[1]


def test_no_pickle_is_left_and_only_the_policy_is_saved(small_run):
    suffixes = {path.suffix for path in small_run.output.rglob("*") if path.is_file()}
    assert not suffixes & {".bin", ".pt", ".pth", ".pkl"}
    assert not (small_run.output / "dpo" / "ref").exists()


def test_piped_output_is_plain_lines_and_noise_goes_to_the_log(small_run):
    assert "\x1b" not in small_run.done.stderr
    assert "\r" not in small_run.done.stderr
    assert not re.search(r"Warning|kernels|it/s\]", small_run.done.stderr)
    assert (small_run.output / "run.log").stat().st_size > 0


def test_events_and_manifest_tell_what_happened(small_run):
    events = [json.loads(line) for line in (small_run.output / "events.jsonl").read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "RunStarted" and names[-1] == "RunFinished"
    assert names.count("StageFinished") == 2
    assert {stage["name"]: stage["total_steps"] for stage in events[0]["stages"]} == {"sft": 6, "dpo": 4}
    assert "EvaluationProgress" not in names
    manifest = json.loads((small_run.output / "manifest.json").read_text())
    assert set(manifest["stages"]) == {"sft", "dpo"}
    assert manifest["versions"]["trl"]


def test_the_same_seed_gives_the_same_bytes(small_run, tmp_path):
    """In another process, whose strings have other hashes, and without an evaluation between the stages."""
    again = run_here(write_recipe(tmp_path, lambda recipe: recipe.pop("eval")), tmp_path / "out").weights
    ours = {stage: (small_run.output / stage / WEIGHTS).read_bytes() for stage in ("sft", "dpo")}
    assert again == ours

    def another(recipe):
        one_stage(recipe)
        recipe.update(seed=8, name="other")

    other = run_here(write_recipe(tmp_path, another), tmp_path / "other").weights
    assert other["sft"] != ours["sft"]


@pytest.fixture
def copied(small_run, tmp_path):
    """A copy of the finished run, to be changed."""
    shutil.copytree(small_run.output, tmp_path / "out")
    return tmp_path


def trained(folder):
    """When each stage was finished, to the second, and its adapter's inode."""
    return {
        stage: (folder / "out" / stage / "adapter_model.safetensors").stat().st_ino
        for stage in ("sft", "dpo")
    }


def test_what_is_unchanged_is_not_trained_again(copied):
    before = trained(copied)
    done = pt_loaded("run", write_recipe(copied), "--output", copied / "out")
    assert done.code == 0, done.stderr
    assert trained(copied) == before
    assert len(re.findall(r"(sft|dpo): .*unchanged since", done.stderr)) == 2, done.stderr


def test_a_changed_stage_is_trained_again_and_says_why(copied):
    before = trained(copied)
    recipe = write_recipe(copied)
    done = pt_loaded("run", recipe, "--output", copied / "out", "--set", "stages.dpo.config.beta=0.2")
    assert done.code == 0, done.stderr
    after = trained(copied)
    assert after["sft"] == before["sft"] and after["dpo"] != before["dpo"]
    assert "beta" in done.stderr and "0.2" in done.stderr


def test_a_check_that_does_not_hold_stops_with_exit_3(copied):
    def strict(recipe):
        recipe["stages"][0]["checks"] = [{"metric": "accuracy", "min": 1.01}]

    done = pt_loaded("run", write_recipe(copied, strict), "--output", copied / "out")
    assert done.code == 3
    assert "accuracy" in done.stderr and "recipe.json:" in done.stderr

    def warned(recipe):
        recipe["stages"][0]["checks"] = [{"metric": "accuracy", "min": 1.01, "on_fail": "warn"}]

    assert pt_loaded("run", write_recipe(copied, warned), "--output", copied / "out").code == 0


def test_full_fine_tuning_goes_the_same_way(tmp_path):
    def full(recipe):
        recipe.pop("eval")
        recipe["adapter"] = {"use_lora": False}
        for stage in recipe["stages"]:
            stage["config"]["learning_rate"] = 1e-4

    run = run_small(tmp_path, full)
    assert run.done.code == 0, run.done.stderr
    assert (run.output / "dpo" / "model.safetensors").is_file()
    assert run.metrics("dpo")[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
