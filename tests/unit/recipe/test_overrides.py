"""--set: how a path is followed and a value typed."""

from __future__ import annotations

import json

import pytest

from ptspec.diagnostics import InputError
from ptspec.recipe.document import parse
from ptspec.recipe.json_pointer import at
from ptspec.recipe.overrides import override
from ptspec.recipe.schema import check

RECIPE = {
    "name": "x",
    "model": "tiny/llama",
    "data": {"train": {"path": "tiny/rows"}},
    "stages": [
        {"name": "sft", "method": "sft", "data": "train"},
        {"name": "dpo", "method": "dpo", "data": "train", "config": {"beta": 0.1}},
    ],
}


def overridden(*texts):
    return override(parse(json.dumps(RECIPE), "f"), texts)


@pytest.mark.parametrize(
    ("text", "pointer", "value"),
    [
        ("stages.dpo.config.beta=0.2", "/stages/1/config/beta", 0.2),
        ("stages.1.config.beta=1e-2", "/stages/1/config/beta", 0.01),
        ("stages.sft.config.packing=true", "/stages/0/config/packing", True),
        ("stages.sft.config.max_length=null", "/stages/0/config/max_length", None),
        ("stages.dpo.config.loss_type=ipo", "/stages/1/config/loss_type", "ipo"),
        ('stages.dpo.config.loss_type=["sigmoid","sft"]', "/stages/1/config/loss_type", ["sigmoid", "sft"]),
        ("model=data/x=y", "/model", "data/x=y"),
        ("name=42", "/name", "42"),
        ('name="42"', "/name", "42"),
        ("stages.sft.name=true", "/stages/0/name", "true"),
        ("description=", "/description", ""),
        ("stages.sft.config.optim_args=3", "/stages/0/config/optim_args", "3"),
        ("eval.samples=3", "/eval/samples", 3),
        ("adapter.target_modules=all-linear", "/adapter/target_modules", "all-linear"),
        ("seed=007", "/seed", "007"),
    ],
)
def test_values_are_typed_by_the_schema(text, pointer, value):
    found = at(overridden(text).value, pointer)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "pointer", "value"),
    [
        ('adapter.rank_pattern."layers.0.q_proj"=8', "/adapter/rank_pattern", {"layers.0.q_proj": 8}),
        ("adapter.rank_pattern.layers.0.q_proj=8", "/adapter/rank_pattern", {"layers.0.q_proj": 8}),
        (r'adapter.alpha_pattern.".*\.q_proj"=8', "/adapter/alpha_pattern", {r".*\.q_proj": 8}),
        ('adapter.rank_pattern."a=b"=8', "/adapter/rank_pattern", {"a=b": 8}),
        ('"adapter" . "r" =8', "/adapter/r", 8),
        ("data.train.columns.prompt=meta.question", "/data/train/columns", {"prompt": "meta.question"}),
        ("data.train.columns.a.b=x", "/data/train/columns", {"a.b": "x"}),
        (
            "stages.sft.config.lr_scheduler_kwargs.a.b=1",
            "/stages/0/config/lr_scheduler_kwargs",
            {"a": {"b": 1}},
        ),
    ],
)
def test_keys_with_dots(text, pointer, value):
    document = overridden(text)
    assert at(document.value, pointer) == value
    assert check(document) == []


def test_a_key_with_dots_is_underlined_whole():
    document = overridden('adapter.rank_pattern."layers.0.q_proj"=0')
    (fault,) = check(document)
    assert (fault.code, fault.pointer) == ("out-of-range", "/adapter/rank_pattern/layers.0.q_proj")
    assert document.locate(fault.pointer, key=True).column == 23


def test_a_path_that_is_wrong_either_way_is_reported_as_it_stands():
    (fault,) = check(overridden("stages.dpo.config.bta.x=1"))
    assert (fault.code, fault.pointer) == ("unknown-key", "/stages/1/config/bta")


def test_the_last_one_counts_and_the_recipe_is_left_as_it_was():
    before = parse(json.dumps(RECIPE), "f")
    after = override(before, ["stages.dpo.config.beta=0.2", "stages.dpo.config.beta=0.3"])
    assert at(after.value, "/stages/1/config/beta") == 0.3
    assert at(before.value, "/stages/1/config/beta") == 0.1


def test_a_renamed_stage_is_found_by_its_new_name():
    assert (
        at(overridden("stages.dpo.name=pref", "stages.pref.config.beta=1").value, "/stages/1/config/beta")
        == 1
    )


def test_a_whole_object_may_be_given_and_then_changed():
    document = overridden('eval={"data": "train"}', "eval.samples=2")
    assert document.value["eval"] == {"data": "train", "samples": 2}
    assert check(document) == []


def test_faults_are_placed_in_the_text_of_the_option():
    document = overridden("stages.dpo.config.bta=0.2", "stages.dpo.config.beta=x", "seed=NaN")
    places = {d.pointer: d.location for d in check(document)}
    key = places["/stages/1/config/bta"]
    assert (key.file, key.line, key.column, key.length) == ("--set", None, 19, 3)
    value = places["/stages/1/config/beta"]
    assert (value.column, value.length, value.text) == (24, 1, "stages.dpo.config.beta=x")
    assert "/seed" in places


def test_a_fault_beneath_an_object_given_is_placed_in_the_option():
    (fault,) = check(overridden('eval={"data": "train", "samples": "x"}'))
    assert (fault.location.file, fault.location.column) == ("--set", 6)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "=3",
        "",
        "stages.kto.data=x",
        "stages.9.data=x",
        "name.x=1",
        "stages..x=1",
        'adapter."r=1',
        'a"b"=1',
    ],
)
def test_paths_that_lead_nowhere(text):
    with pytest.raises(InputError) as raised:
        overridden(text)
    (fault,) = raised.value.diagnostics
    assert (fault.code, fault.location.file) == ("bad-override", "--set")


def test_all_faulty_paths_are_reported_at_once():
    with pytest.raises(InputError) as raised:
        overridden("x", "name=ok", "y")
    assert len(raised.value.diagnostics) == 2
