"""A model of a run is opened as its recipe says, outside of the run too."""

from __future__ import annotations

from pathlib import Path

from ptspec.checks.code_permission import model_spec
from ptspec.model.base import load_base
from ptspec.model.device import find_device
from ptspec.recipe.plan import AdapterSpec

BASE = Path(__file__).parents[3] / "data" / "base_model"


def test_tokens_that_the_recipe_adds_are_in_tokenizer_and_embeddings():
    recipe = {"model": {"path": str(BASE), "additional_special_tokens": ["<think>", "</think>"]}}
    bare = load_base(model_spec(str(BASE), {}, allow_code=False), AdapterSpec(False), find_device())
    grown = load_base(model_spec(str(BASE), recipe, allow_code=False), AdapterSpec(False), find_device())
    assert len(grown.tokenizer) == len(bare.tokenizer) + 2
    assert len(grown.tokenizer("<think>", add_special_tokens=False)["input_ids"]) == 1
    assert grown.parameters > bare.parameters
