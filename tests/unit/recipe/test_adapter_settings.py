"""Which settings of two adapters are the same to PEFT, however they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.small import ROOT

from ptspec.recipe.adapter_settings import UNORDERED, unlike, unlike_saved
from ptspec.recipe.plan import Handover
from ptspec.recipe.resolve import read_recipe
from ptspec.recipe.shape import read_shape

SHIPPED = ROOT / "data" / "base_model"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def no_shape():
    return None


def shape():
    return read_shape(SHIPPED)


@pytest.mark.parametrize(
    ("first", "second", "differing"),
    [
        ({"target_modules": ["q_proj", "v_proj"]}, {"target_modules": ["v_proj", "q_proj"]}, []),
        ({"target_modules": ["q_proj"]}, {"target_modules": ["v_proj"]}, ["target_modules"]),
        ({"exclude_modules": ["a", "b"]}, {"exclude_modules": ["b", "a"]}, []),
        ({"modules_to_save": ["a", "b"]}, {"modules_to_save": ["b", "a"]}, []),
        ({"modules_to_save": []}, {}, []),
        ({"layers_to_transform": [0, 1]}, {"layers_to_transform": [1, 0]}, []),
        ({"layers_to_transform": 1}, {"layers_to_transform": [1]}, []),
        ({"layers_to_transform": 1}, {"layers_to_transform": 2}, ["layers_to_transform"]),
        ({"layers_pattern": "h"}, {"layers_pattern": ["h"]}, []),
        ({"trainable_token_indices": [1, 2]}, {"trainable_token_indices": [2, 1]}, []),
        ({"trainable_token_indices": {"e": [1, 2]}}, {"trainable_token_indices": {"e": [2, 1]}}, []),
        ({"target_parameters": ["a", "b"]}, {"target_parameters": ["b", "a"]}, []),
        (
            {"alora_invocation_tokens": [1, 2]},
            {"alora_invocation_tokens": [2, 1]},
            ["alora_invocation_tokens"],
        ),
        ({"r": 8}, {}, []),
        ({"r": 16}, {}, ["r"]),
        ({"rank_pattern": {"q": 4}}, {}, ["rank_pattern"]),
        ({"rank_pattern": {}}, {"rank_pattern": None}, []),
    ],
)
def test_fields_are_compared_by_what_they_mean(first, second, differing):
    assert unlike(first, second, no_shape) == differing
    assert unlike(second, first, no_shape) == differing


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"target_modules": "all-linear"}, {"target_modules": ALL}, True),
        ({"target_modules": "ALL-LINEAR"}, {"target_modules": "all-linear"}, True),
        ({"target_modules": "all-linear"}, {"target_modules": ALL[:4]}, False),
        ({"target_modules": r".*\.(q|v)_proj"}, {"target_modules": ["v_proj", "q_proj"]}, True),
        ({"target_modules": ["q_proj", "v_proj"]}, {}, True),
        ({"target_modules": ALL, "exclude_modules": ["q_proj"]}, {"target_modules": ALL[1:]}, True),
        ({"target_modules": ALL, "layers_to_transform": 0}, {"target_modules": ALL}, False),
    ],
)
def test_with_the_models_shape_the_modules_themselves_are_compared(first, second, same):
    assert (unlike(first, second, shape) == []) is same


def test_a_saved_list_is_all_linear_where_it_is():
    own = {"target_modules": "all-linear", "r": 8}
    assert unlike_saved({"r": 8, "target_modules": sorted(ALL)}, own, shape) == []
    assert unlike_saved({"r": 8, "target_modules": ["q_proj"]}, own, shape) == ["target_modules"]
    assert unlike_saved({"r": 8, "target_modules": ["q_proj"]}, own, no_shape) == []
    assert unlike_saved({"r": 8, "target_modules": ["q_proj"]}, {"r": 8}, shape) == []
    assert unlike_saved({"target_modules": ["q_proj"]}, own, shape) == ["r"]


def test_fields_without_an_order_are_lists_of_loraconfig():
    fields = json.loads((ROOT / "schemas/peft/lora.schema.json").read_text())["properties"]
    assert all("array" in fields[name]["type"] for name in UNORDERED)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"prompt": "a", "completion": "b", "chosen": "b", "rejected": "c"}\n')

    def write(first, second=None, model=str(SHIPPED), **stage):
        value = {
            "model": model,
            "adapter": {"use_lora": True, "r": 4},
            "data": {"train": {"path": "rows.jsonl"}},
            "stages": [{"name": "dpo", "method": "dpo", "data": "train", "adapter": second or {}, **stage}],
        }
        if first is not None:
            value["stages"].insert(0, {"name": "sft", "method": "sft", "data": "train", "adapter": first})
        Path("r.json").write_text(json.dumps(value))
        return read_recipe(Path("r.json"))

    return write


def test_within_a_recipe_the_order_of_modules_is_nothing(recipe):
    reading = recipe({"target_modules": ["q_proj", "v_proj"]}, {"target_modules": ["v_proj", "q_proj"]})
    assert reading.plan.stages[1].handover is Handover.CONTINUE


def test_what_peft_saved_of_the_same_settings_can_be_continued(recipe):
    Path("sft").mkdir()
    saved = {"peft_type": "LORA", "r": 4, "target_modules": ["k_proj", "o_proj", "q_proj", "v_proj"]}
    Path("sft/adapter_config.json").write_text(json.dumps(saved))
    own = {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    reading = recipe(None, own, **{"from": "./sft", "handover": "continue"})
    assert reading.errors == ()
    assert recipe(None, own, **{"from": "./sft"}).plan.stages[0].handover is Handover.CONTINUE
    others = recipe(None, {"target_modules": "all-linear"}, **{"from": "./sft", "handover": "continue"})
    assert [d.code for d in others.errors] == ["handover-mismatch"]
