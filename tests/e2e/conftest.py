"""Stages trained without a recipe, once a file."""

import pytest
from support.handover_bench import LORA, Bench
from support.small import ROOT

from ptspec.model.device import find_device
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import ModelSpec


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    spec = ModelSpec(str(ROOT / "data/base_model"), local=True)
    return Bench(tmp_path_factory.mktemp("handover"), Bases(spec, find_device()))


@pytest.fixture(scope="module")
def sft(bench):
    return bench.stage("sft", "sft", LORA, learning_rate=2e-3, max_steps=4)[0]
