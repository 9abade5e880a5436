"""Merges, run: the sum is the one that its parts make by hand, and what goes on from it begins there."""

import copy
import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support.small import RECIPE, ROOT, run_here, two_ranks
from transformers import AutoModelForCausalLM

from ptspec.checks.preflight import preflight
from ptspec.events import StageFinished, StageMerged, StageReused, StageStarted
from ptspec.model import low_rank
from ptspec.run import merge_stage, ranks
from ptspec.run.options import Options
from ptspec.store.verify import verify

pytestmark = pytest.mark.slow

BASE = str(ROOT / "data/base_model")


def recipe_of(of, later=False, **of_all):
    """Two short SFTs from the base, "a" and "b", and their sum; `later`: DPO behind it."""
    recipe = copy.deepcopy(RECIPE)
    recipe["data"]["train"]["limit"], recipe["data"]["heldout"]["limit"] = 32, 8
    recipe["eval"] = {"data": "heldout", "max_new_tokens": 4, "samples": 2, "sampled": 0}
    sft, dpo = recipe["stages"]
    for stage in (sft, dpo):
        stage["config"].update(max_steps=2)
    a, b = ({**copy.deepcopy(sft), "name": name, "from": "base"} for name in ("a", "b"))
    b["config"]["learning_rate"] = 5e-3
    recipe["stages"] = [a, b, {"name": "soup", "method": "merge", "of": of}, *([dpo] if later else [])]
    recipe.update(of_all)
    return recipe


def go(folder, recipe, **options):
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2))
    ran = run_here(folder / "recipe.json", folder / "out", None, Options(allow_code=True, **options))
    assert ran.error is None, ran.error.diagnostics
    return ran


def named(ran, kind):
    return [event.stage for event in ran.events if isinstance(event, kind)]


def updates(folder):
    """ΔW of each module by name, in float64, from the files alone."""
    config = json.loads((folder / "adapter_config.json").read_text())
    scale, tensors = config["lora_alpha"] / config["r"], load_file(folder / "adapter_model.safetensors")
    return {
        name: tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double() * scale
        for name in tensors
        if "lora_A" in name
    }


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.fixture(scope="module")
def summed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    ran = go(folder, recipe_of({"a": 0.7, "b": -0.2}, later=True))
    return folder, ran


def test_the_sum_of_adapters_is_the_weighted_sum_of_their_updates(summed):
    out = summed[0] / "out"
    a, b, soup = (updates(out / name) for name in ("a", "b", "soup"))
    assert soup.keys() == a.keys() == b.keys() and any(value.abs().max() > 1e-4 for value in b.values())
    for name, update in soup.items():
        torch.testing.assert_close(update, 0.7 * a[name] - 0.2 * b[name], rtol=1e-5, atol=1e-7)
    assert json.loads((out / "soup/adapter_config.json").read_text())["r"] == 16


def test_plain_peft_opens_the_sum_and_it_answers_as_the_weights_do(summed):
    out = summed[0] / "out"
    ids = torch.tensor([[5, 17, 42, 7, 99]])
    opened = logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), out / "soup"), ids)
    by_hand = AutoModelForCausalLM.from_pretrained(BASE)
    parts = {"a": 0.7, "b": -0.2}
    with torch.no_grad():
        for name, weight in parts.items():
            for module, update in updates(out / name).items():
                path = module.removeprefix(low_rank.PREFIX).removesuffix(".lora_A.weight")
                by_hand.get_submodule(path).weight.add_(weight * update.float())
    torch.testing.assert_close(opened, logits(by_hand, ids), rtol=1e-4, atol=1e-4)
    plain = logits(AutoModelForCausalLM.from_pretrained(BASE), ids)
    assert (opened - plain).abs().max() > 1e-2, "a dropped adapter would be the base"


def test_a_merge_trains_nothing_is_measured_and_is_the_reference_of_what_goes_on_from_it(summed):
    folder, ran = summed
    assert named(ran, StageStarted) == ["a", "b", "dpo"] and named(ran, StageMerged) == ["soup"]
    record = json.loads((folder / "out/soup/stage.json").read_text())
    assert record["of"] == {"a": 0.7, "b": -0.2} and record["steps"] == 0 and record["method"] == "merge"
    assert record["checks"]["saved_to_trained"] < 1e-4
    assert (folder / "out/soup/evaluation_stats.json").is_file() and (
        folder / "out/soup/probes.json"
    ).is_file()
    dpo = json.loads((folder / "out/dpo/stage.json").read_text())
    assert dpo["reference"] == "soup, frozen" and dpo["handover"] == "merge"
    assert dpo["checks"]["policy_to_handed_over"] < 1e-4 and dpo["checks"]["policy_to_reference"] < 1e-4
    report = (folder / "out/report.html").read_text() if (folder / "out/report.html").is_file() else ""
    assert not report or "0.7 × a - 0.2 × b" in report


def test_it_is_taken_as_it_is_and_made_anew_when_a_weight_or_a_part_changes(summed):
    folder, _ = summed
    recipe = recipe_of({"a": 0.7, "b": -0.2}, later=True)
    again = go(folder, recipe)
    assert named(again, StageReused) == ["a", "b", "soup", "dpo"] and not named(again, StageMerged)
    before = (folder / "out/soup/adapter_model.safetensors").read_bytes()
    recipe["stages"][2]["of"]["b"] = 0.3
    heavier = go(folder, recipe, until="soup")
    assert named(heavier, StageReused) == ["a", "b"] and named(heavier, StageMerged) == ["soup"]
    recipe["stages"][1]["config"]["learning_rate"] = 1e-3
    other = go(folder, recipe, until="soup")
    assert named(other, StageStarted) == ["b"] and named(other, StageMerged) == ["soup"]
    assert named(other, StageFinished) == ["b", "soup"]
    after = updates(folder / "out/soup")
    for name, a in updates(folder / "out/a").items():
        torch.testing.assert_close(
            after[name], 0.7 * a + 0.3 * updates(folder / "out/b")[name], rtol=1e-5, atol=1e-7
        )
    assert (folder / "out/soup/adapter_model.safetensors").read_bytes() != before


def test_full_weights_are_the_mean_of_each_tensor_and_verify_has_them(tmp_path):
    recipe = recipe_of({"a": 0.25, "b": 0.5, "base": 0.25}, adapter={"use_lora": False})
    for stage in recipe["stages"][:2]:
        stage["config"]["learning_rate"] = 1e-3 if stage["name"] == "a" else 3e-3
    go(tmp_path, recipe)
    out = tmp_path / "out"
    parts = [load_file(folder / "model.safetensors") for folder in (out / "a", out / "b", Path(BASE))]
    soup = load_file(out / "soup/model.safetensors")
    assert set(soup) == set.intersection(*map(set, parts))
    for name, tensor in soup.items():
        a, b, base = (part[name].double() for part in parts)
        torch.testing.assert_close(tensor.double(), 0.25 * a + 0.5 * b + 0.25 * base, rtol=1e-6, atol=1e-8)
    assert not torch.equal(soup["model.norm.weight"], parts[0]["model.norm.weight"])
    opened = AutoModelForCausalLM.from_pretrained(out / "soup")
    assert opened.dtype is torch.float32
    lines = verify(out)
    assert any("soup" in line.text for line in lines) and not any(line.differs for line in lines)


def test_what_is_saved_and_is_not_the_sum_ends_the_run(summed, monkeypatch):
    folder, _ = summed
    right = merge_stage.sum_of_adapters
    monkeypatch.setattr(merge_stage, "sum_of_adapters", lambda parts: right([(f, w / 2) for f, w in parts]))
    recipe = recipe_of({"a": 0.61, "b": 0.2}, later=True)
    (folder / "recipe.json").write_text(json.dumps(recipe))
    ran = run_here(folder / "recipe.json", folder / "out", None, Options(allow_code=True, until="soup"))
    assert "saved-differs" in ran.told and "0.61 × a + 0.2 × b" in ran.told


def test_several_processes_make_it_once(summed, tmp_path):
    out = summed[0] / "out"
    recipe = recipe_of({str(out / "a"): 0.5, "base": 0.5})
    recipe["stages"] = recipe["stages"][2:]
    del recipe["eval"]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe, indent=2))
    first, second = two_ranks("run", tmp_path / "recipe.json", "--output", tmp_path / "out")
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    for name, update in updates(tmp_path / "out/soup").items():
        torch.testing.assert_close(update, 0.5 * updates(out / "a")[name], rtol=1e-5, atol=1e-7)


def test_workers_of_a_launcher_wait_for_one_another_in_a_merge_too(tmp_path, monkeypatch):
    """It has no trainer, whose `ddp_timeout` says how long."""
    recipe = recipe_of({"a": 0.5, "base": 0.5})
    recipe["stages"][0]["config"]["ddp_timeout"] = 70
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    plan = preflight(tmp_path / "recipe.json", (), tmp_path / "out").plan
    waits = []
    monkeypatch.setattr(ranks, "join", waits.append)
    for stage in ("soup", "a"):
        ranks.join_for(SimpleNamespace(plan=plan, stage=stage))
    assert waits == [timedelta(seconds=ranks.TIMEOUT), timedelta(seconds=70)]
