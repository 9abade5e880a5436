"""Which weights later stages and evaluations open: derived from the plan alone."""

import json

import pytest
from support.small import ROOT

from ptspec.recipe.resolve import load_plan
from ptspec.run.needs import Needs

FILES = {"train": "train.jsonl", "heldout": "eval.jsonl"}
FULL, LORA, QLORA = {"use_lora": False}, {"use_lora": True}, {"use_lora": True, "use_qlora": True}


@pytest.fixture
def needs(tmp_path):
    """The needs of a recipe with these stages."""

    def make(*stages, evaluation=None, rewards=None):
        recipe = {
            "version": 1,
            "model": {"path": str(ROOT / "data/base_model")},
            "data": {name: {"path": str(ROOT / "data" / file)} for name, file in FILES.items()},
            "stages": [{"method": "sft", "data": "train", **stage} for stage in stages],
        }
        recipe |= {"eval": {"data": "heldout", **evaluation}} if evaluation is not None else {}
        recipe |= {"rewards": rewards} if rewards else {}
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        plan = load_plan(tmp_path / "recipe.json", (), tmp_path / "out")
        return Needs(plan, plan.stages)

    return make


def folders(found):
    """Names of folders and setups, once each, in order."""
    names = []
    for weights in found:
        folder = "base" if weights.folder is None else weights.folder.rpartition("/")[2]
        setup = "qlora" if weights.adapter.use_qlora else "lora" if weights.adapter.use_lora else "full"
        if not folder.startswith(".") and (name := f"{folder}:{setup}") not in names:
            names.append(name)
    return names


def test_a_full_chain_leaves_the_base_behind(needs):
    found = needs({"name": "a", "adapter": FULL}, {"name": "b", "adapter": FULL})
    a, b = found.stages
    assert folders(found.of(a)) == ["base:full", "a:full", "b:full"]
    assert folders(found.after_training(a)) == ["a:full", "b:full"]
    assert folders(found.after_training(b)) == ["b:full"]


def test_an_evaluation_with_kl_keeps_it(needs):
    stages = ({"name": "a", "adapter": FULL}, {"name": "b", "adapter": FULL})
    for evaluation, expected in (
        ({}, ["b:full", "base:full"]),
        ({"metrics": ["loss"]}, ["b:full"]),
        ({"sampled": 0}, ["b:full"]),
        ({"metrics": ["loss", "kl"]}, ["b:full", "base:full"]),
    ):
        found = needs(*stages, evaluation=evaluation)
        assert folders(found.after_training(found.stages[1])) == expected, evaluation


def test_adapters_stand_on_what_their_parent_stands_on(needs):
    found = needs(
        {"name": "a", "adapter": FULL},
        {"name": "b", "adapter": LORA},
        {"name": "c", "adapter": LORA, "from": "b"},
    )
    _, b, c = found.stages
    assert folders(found.after_training(b)) == ["a:lora"]
    assert folders(found.of(c)) == ["a:lora"]


def test_a_setup_that_no_later_stage_has_is_not_needed(needs):
    found = needs(
        *(
            {"name": name, "adapter": a, "from": "base"}
            for name, a in (("a", FULL), ("b", LORA), ("c", QLORA))
        )
    )
    a, b, c = found.stages
    assert folders(found.after_training(a)) == ["a:full", "base:lora", "base:qlora"]
    assert folders(found.after_training(b)) == ["base:lora", "base:qlora"]
    assert folders(found.after_training(c)) == ["base:qlora"]


def test_a_reward_model_over_the_base_needs_it(needs):
    def chain(adapter):
        return needs(
            {"name": "a", "adapter": FULL},
            {"name": "rm", "method": "reward", "adapter": adapter},
            {"name": "c", "method": "grpo", "adapter": FULL, "from": "a", "rewards": ["score"]},
            rewards={"score": {"model": "rm"}},
        )

    over, whole = chain(LORA), chain(FULL)
    assert "base:full" in folders(over.of(over.stages[2]))
    assert folders(whole.of(whole.stages[2])) == ["a:full", "c:full"]
    assert folders(whole.after_training(whole.stages[1])) == ["a:full", "c:full"], (
        "its folder is opened by itself"
    )
