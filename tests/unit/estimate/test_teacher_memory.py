"""What a teacher takes of the memory: nothing where it shares the policy's weights, else all of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.small import ROOT

from ptspec.estimate.teacher import teacher_bytes
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import AdapterSpec, ComputeSpec
from ptspec.recipe.resolve import load_plan
from ptspec.recipe.shape import read_shape
from ptspec.recipe.signals import SecondModel

BASE = ROOT / "data/base_model"
SHAPE = read_shape(BASE)
WHOLE = 4 * sum(tensor.elements for tensor in SHAPE.tensors.values())
"""Bytes of the shipped base in float32, as a CPU has it."""


@pytest.mark.parametrize(
    ("teacher", "adapter", "expected"),
    [
        (None, AdapterSpec(True), 0),
        (SecondModel("sft", shares_base=True), AdapterSpec(True), 0),
        (SecondModel("sft", shares_base=True), AdapterSpec(False), WHOLE),
        (SecondModel(str(BASE)), AdapterSpec(True), WHOLE),
        (SecondModel("org/not-known"), AdapterSpec(True), WHOLE),
    ],
    ids=["none", "an adapter", "an adapter, the base is trained", "a folder", "not known"],
)
def test_the_weights_of_a_teacher(teacher, adapter, expected):
    assert bytes_of(teacher, adapter) == expected


def test_a_teacher_stays_whole_where_the_weights_below_the_student_are_sharded():
    teacher, sharded = SecondModel("sft", shares_base=True), ComputeSpec("accelerate", 2, strategy="fsdp")
    assert bytes_of(teacher, AdapterSpec(True), sharded) == WHOLE


def bytes_of(teacher, adapter, compute=None):
    plan = load_plan(ROOT / "recipes/distillation.json")
    stage = replace(plan.stages[1], teacher=teacher, adapter=adapter)
    stage = stage if compute is None else replace(stage, compute=compute)
    settings = EffectiveConfig(stage, stage.compute, gpu=False)
    return teacher_bytes(settings, plan.model, SHAPE)
