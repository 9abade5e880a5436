"""Rates that are likely to teach nothing or to diverge are warned of; those of our recipes are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import llama_8b
from support.small import ROOT, write_recipe

from ptspec import methods
from ptspec.checks.learning_rate import HIGH, LOW, check_learning_rates
from ptspec.checks.preflight import preflight
from ptspec.recipe.plan import HubModel, ModelSpec

TRAINED = [one for one in methods.all_of_them() if one.rates is not None]


def told(folder: Path, config: dict, *, use_lora=True, is_real=False) -> list[tuple[str, str]]:
    """What is told of a DPO with this config: code and place."""

    def change(recipe):
        recipe["adapter"] = {"use_lora": use_lora}
        recipe["stages"] = [{"name": "dpo", "method": "dpo", "data": "train", "config": config}]
        recipe.pop("eval")

    plan = preflight(write_recipe(folder, change)).plan
    assert plan is not None
    if is_real:
        plan = replace(plan, model=ModelSpec("owner/8b", False, hub=HubModel(folder, llama_8b.shape())))
    return [(one.code, str(one.pointer)) for one in check_learning_rates(plan)]


LOW_CODE, HIGH_CODE = "learning-rate-low", "learning-rate-high"
GIVEN = "/stages/0/config/learning_rate"


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        ({}, {}, [(LOW_CODE, "/stages/0")]),
        ({"learning_rate": 1e-6}, {}, [(LOW_CODE, GIVEN)]),
        ({"learning_rate": 1e-9}, {}, [(LOW_CODE, GIVEN)]),
        ({"learning_rate": 5e-6}, {}, []),
        ({}, {"use_lora": False}, []),
        ({"learning_rate": 1e-8}, {"use_lora": False}, [(LOW_CODE, GIVEN)]),
        ({"learning_rate": 1e-2}, {"is_real": True}, [(HIGH_CODE, GIVEN)]),
        ({"learning_rate": 1e-4}, {"use_lora": False, "is_real": True}, [(HIGH_CODE, GIVEN)]),
        ({"learning_rate": 1e-2}, {}, []),  # the base of 1 M takes what others do not
        ({"learning_rate": 1e-6, "optim": "sgd"}, {}, []),
    ],
    ids=str,
)
def test_of_dpo(tmp_path, config, options, expected):
    assert told(tmp_path, config, **options) == expected


def test_it_is_reported_with_what_is_usual_and_whose_that_is(tmp_path):
    recipe = write_recipe(tmp_path, lambda recipe: recipe["stages"][1]["config"].pop("learning_rate"))
    (found,) = preflight(recipe).diagnostics
    assert found.message.startswith('stage "dpo" learns at 1e-06, TRL\'s default')
    assert found.hint is not None and "5e-06 to 0.0002 is usual with LoRA (TRL's table" in found.hint


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.json")), ids=lambda file: file.stem)
def test_no_recipe_of_ours_is_warned_of(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = preflight(file).plan
    assert plan is not None
    assert list(check_learning_rates(plan)) == []


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)
def test_what_pt_init_writes_is_within_the_rates(method):
    rate = method.starter.config["learning_rate"]
    lowest, highest = method.rates.lora
    assert lowest / LOW <= rate <= highest * HIGH
    assert rate >= lowest, "init's own rate"


def test_the_table_of_the_documentation_has_them():
    table = (ROOT / "docs" / "methods.md").read_text()
    for one in TRAINED:
        full, lora = (
            " to ".join(dict.fromkeys(f"{rate:g}" for rate in ends))
            for ends in (one.rates.full, one.rates.lora)
        )
        assert f"| {one.name} | {full} | {lora} | {one.rates.source} |" in table
