"""A teacher that is no model, or scores other tokens than the policy, is told before anything is loaded."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from support.small import ROOT

from ptspec.checks.teacher import check_teachers
from ptspec.data.tokens.template import tokenizer_files
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.shape import read_shape
from ptspec.recipe.signals import SecondModel

BASE = ROOT / "data/base_model"


@pytest.fixture
def teacher(tmp_path):
    """A copy of the shipped base, to be changed."""
    return shutil.copytree(BASE, tmp_path / "teacher")


def told(teacher):
    plan = load_plan(ROOT / "recipes/sft.json")
    stage = replace(plan.stages[0], teacher=SecondModel(str(teacher), at="/stages/0/teacher"))
    plan = replace(plan, stages=(stage,))
    found = check_teachers(plan, read_shape(BASE), tokenizer_files(plan.model))
    return [(one.code, one.message, one.pointer) for one in found]


def change(file, key, value):
    whole = json.loads(file.read_text("utf-8"))
    whole[key] = value
    file.write_text(json.dumps(whole), "utf-8")


def test_the_same_tokens_are_no_fault(teacher):
    assert told(teacher) == []


def test_a_stage_and_the_base_share_the_vocabulary():
    assert told("sft") == told("base") == told(BASE) == []


def test_another_number_of_tokens(teacher):
    size = json.loads((teacher / "config.json").read_text("utf-8"))["vocab_size"]
    change(teacher / "config.json", "vocab_size", size + 7)
    ((code, message, at),) = told(teacher)
    assert (code, at) == ("other-vocabulary", "/stages/0/teacher")
    assert f"scores {size + 7:,} tokens and the policy {size:,}" in message


def test_tokens_that_have_changed_places(teacher):
    file = teacher / "tokenizer.json"
    whole = json.loads(file.read_text("utf-8"))
    vocabulary = whole["model"]["vocab"]
    by_id = {number: token for token, number in vocabulary.items()}
    a, b = sorted(by_id)[50:52]
    vocabulary[by_id[a]], vocabulary[by_id[b]] = b, a
    file.write_text(json.dumps(whole), "utf-8")
    ((code, message, _),) = told(teacher)
    assert code == "other-vocabulary"
    assert f"has id {a} here and has id {b} in the teacher's vocabulary" in message


def test_no_tokenizer(teacher):
    for file in teacher.glob("*token*"):
        file.unlink()
    ((code, message, _),) = told(teacher)
    assert code == "no-tokenizer" and "the meaning of its ids is unknown" in message


def test_weights_that_are_a_pickle(teacher):
    (teacher / "model.safetensors").rename(teacher / "pytorch_model.bin")
    ((code, message, _),) = told(teacher)
    assert code == "no-weights" and "pytorch_model.bin" in message


def test_no_weights(teacher):
    (teacher / "model.safetensors").unlink()
    ((code, message, _),) = told(teacher)
    assert code == "no-weights" and "holds no model" in message
