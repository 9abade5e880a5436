"""Models beside the policy: what a recipe may name as one, and what a stage depends on through it."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest import mock

import pytest
from support.small import ROOT

from ptspec import methods
from ptspec.methods.types import Feedback
from ptspec.recipe.resolve import read_recipe
from ptspec.recipe.second_models import folder_of, second_models, second_models_of
from ptspec.run.branches import needed
from ptspec.run.needs import Needs

GET = methods.get


@pytest.fixture
def taught():
    """SFT asks for a teacher, so that these tests stand by themselves."""

    def get(name):
        return replace(GET(name), feedback=Feedback.TEACHER) if name == "sft" else GET(name)

    with mock.patch.object(methods, "get", get):
        yield


def recipe(tmp_path, *stages, **more):
    given = [{"data": "train", **stage} for stage in stages]
    whole = {
        "model": str(ROOT / "data/base_model"),
        "adapter": {"use_lora": True},
        "data": {"train": {"path": str(ROOT / "data/train.jsonl")}},
        "stages": given,
        **more,
    }
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(whole), "utf-8")
    return read_recipe(file, output=tmp_path / "out")


def student(teacher, **more):
    return {"name": "student", "method": "sft", "teacher": teacher, **more}


LARGE = {"name": "large", "method": "dpo"}
SCORER = {"name": "scorer", "method": "reward"}


def told(reading):
    return {one.pointer: (one.code, one.message) for one in reading.diagnostics}


@pytest.mark.parametrize("teacher", ["large", "base", {"model": "large"}, "some/model"])
def test_what_may_be_a_teacher(taught, tmp_path, teacher):
    reading = recipe(tmp_path, LARGE, student(teacher))
    assert reading.errors == ()
    name = teacher if isinstance(teacher, str) else teacher["model"]
    stage = reading.plan.stage("student")
    assert stage.teacher.path == name
    assert stage.teacher.shares_base is (name != "some/model")
    assert [one.path for one in second_models(reading.plan)] == [name]
    assert needed(reading.plan, reading.plan.stages)["student"] == {"large"}  # its parent


@pytest.mark.parametrize(
    ("teacher", "code", "words"),
    [
        ("scorer", "not-a-policy", "trains a reward model"),
        ("student", "unknown-stage", "itself"),
        ("later", "unknown-stage", "comes later"),
        ("./nowhere", "no-such-model", "no such model"),
        (str(ROOT / "data"), "not-a-model", "neither a model nor an adapter"),
    ],
)
def test_what_may_not(taught, tmp_path, teacher, code, words):
    reading = recipe(tmp_path, SCORER, student(teacher), {"name": "later", "method": "dpo"})
    found = told(reading)["/stages/1/teacher"]
    assert found[0] == code and words in found[1]


def test_a_stage_that_has_none(taught, tmp_path):
    assert told(recipe(tmp_path, {"name": "student", "method": "sft"}))["/stages/0"][0] == "missing-teacher"


def test_a_method_that_asks_for_none(tmp_path):
    reading = recipe(tmp_path, student("base"))
    assert told(reading)["/stages/0/teacher"][0] == "unused-key"


def test_a_revision_of_a_stage(taught, tmp_path):
    reading = recipe(tmp_path, LARGE, student({"model": "large", "revision": "main"}))
    assert told(reading)["/stages/1/teacher/revision"][0] == "unused-key"


def test_one_seam_for_rewards_judges_and_teachers(taught, tmp_path):
    online = {"name": "grpo", "method": "grpo", "rewards": ["learned"]}
    judged = {"name": "nash", "method": "nash_md", "judge": "by_reward"}
    reading = recipe(
        tmp_path,
        *(SCORER, LARGE, student("large", **{"from": "base"}), online, judged),
        rewards={"learned": {"model": "scorer"}},
        judges={"by_reward": {"reward": "learned"}},
    )
    plan = reading.plan
    learns_from = {stage.name: [m.path for m in second_models_of(plan, stage)] for stage in plan.stages}
    assert learns_from == {
        "scorer": [],
        "large": [],
        "student": ["large"],
        "grpo": ["scorer"],
        "nash": ["scorer"],
    }
    waits = needed(plan, plan.stages)
    assert {name: set(waits[name]) for name in ("student", "grpo", "nash")} == {
        "student": {"large"},
        "grpo": {"student", "scorer"},
        "nash": {"grpo", "scorer"},
    }
    assert folder_of(plan, "large") == plan.output / "large"
    assert folder_of(plan, "some/model") is None
    assert Needs(plan, plan.stages).of(plan.stage("student"))
