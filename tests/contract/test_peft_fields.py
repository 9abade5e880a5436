"""What a recipe's adapter may say is what PEFT takes, and what is refused here PEFT refuses too."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.small import ROOT

from ptspec.recipe.adapter_rules import check_adapter
from ptspec.recipe.document import parse
from ptspec.recipe.findings import Findings

FIELDS = json.loads((ROOT / "schemas/peft/lora.schema.json").read_text("utf-8"))["properties"]
INITS = FIELDS["init_lora_weights"]["else"]


def adapted(**fields):
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, LoraConfig(r=2, target_modules=["0", "1"], **fields))


@pytest.mark.parametrize("value", [*INITS["enum"], "pissa_niter_4"])
def test_each_initialisation_makes_an_adapter(value):
    assert any("lora_A" in name for name, _ in adapted(init_lora_weights=value).named_parameters())


@pytest.mark.parametrize("value", ["pisa", "pissa_niter_", "gauss"])
def test_other_initialisations_are_refused_by_peft(value):
    with pytest.raises(ValueError, match=r"."):
        adapted(init_lora_weights=value)


def test_the_initialisations_that_fit_no_shared_base_are_refused_with_the_reason():
    assert INITS["x-refused"].keys() == {"eva", "corda", "loftq"}
    with pytest.raises(ValueError, match="preprocess_corda"):
        adapted(init_lora_weights="corda")


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": "all-linear", "layers_to_transform": [0]},
        {"target_modules": ".*", "layers_to_transform": [0], "layers_pattern": "h"},
        {"target_modules": ["0"], "layers_pattern": "h"},
        {"lora_bias": True, "init_lora_weights": "gaussian"},
        {"lora_bias": True, "use_dora": True},
        {"use_dora": True, "megatron_config": {"a": 1}},
    ],
)
def test_what_contradicts_itself_is_refused_by_peft(fields):
    findings = Findings(parse("{}", "f"))
    check_adapter(fields, False, lambda name: f"/adapter/{name}", findings)
    assert findings.diagnostics
    with pytest.raises((ValueError, ImportError)):
        LoraConfig(**fields)


def test_an_odd_rank_is_refused_for_orthogonal():
    with pytest.raises(ValueError, match="even"):
        model = torch.nn.Sequential(torch.nn.Linear(8, 8))
        get_peft_model(model, LoraConfig(r=3, target_modules=["0"], init_lora_weights="orthogonal"))
