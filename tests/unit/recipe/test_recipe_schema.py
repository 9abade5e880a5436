"""The traps of jsonschema, and the hints."""

from __future__ import annotations

import json

import pytest

from ptspec.recipe.document import parse
from ptspec.recipe.schema import check

GOOD = {
    "model": "tiny/llama",
    "data": {"train": {"path": "tiny/rows"}},
    "stages": [{"name": "dpo", "method": "dpo", "data": "train", "config": {}}],
}


def faults(value) -> list[tuple[str, str | None]]:
    return [(d.code, d.pointer) for d in check(parse(json.dumps(value), "f"))]


def with_config(**config):
    return {**GOOD, "stages": [{**GOOD["stages"][0], "config": config}]}


def test_a_good_recipe_has_no_faults():
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"beta": 1}, []),
        ({"beta": True}, ["wrong-type"]),
        ({"max_steps": 4.0}, ["wrong-type"]),
        ({"max_steps": True}, ["wrong-type"]),
        ({"max_length": None}, []),
        ({"max_length": 0}, ["out-of-range"]),
        ({"loss_type": "sigmoid"}, []),
        ({"loss_type": ["sigmoid", "sft"]}, []),
        ({"loss_type": []}, ["wrong-length"]),
        ({"loss_type": 1}, ["wrong-type"]),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, []),
        ({"lr_scheduler_type": "cosine"}, []),
        ({"save_steps": 0.5}, []),
        ({"$comment": ["anything"]}, []),
    ],
)
def test_config(config, expected):
    assert [code for code, _ in faults(with_config(**config))] == expected


@pytest.mark.parametrize("method", [[], {}, 3, None, True, "ppo"])
def test_it_survives_any_method(method):
    recipe = {**GOOD, "stages": [{"name": "x", "method": method, "data": "train", "config": {"beta": "x"}}]}
    assert [pointer for _, pointer in faults(recipe)] == ["/stages/0/method"]


@pytest.mark.parametrize("stages", [[[]], [3], [None], "x", {}, [[{}]]])
def test_it_survives_any_stages(stages):
    assert faults({**GOOD, "stages": stages})


@pytest.mark.parametrize("name", ["a\n", "A", "", "-a", "a b", "a/b", "..", "é"])
def test_names_that_are_no_slugs(name):
    codes = [code for code, pointer in faults({**GOOD, "name": name}) if pointer == "/name"]
    assert codes == ["bad-name"]


def test_the_wrong_type_is_reported_before_what_follows_from_it():
    assert faults(with_config(beta="x")) == [("wrong-type", "/stages/0/config/beta")]


def test_a_misspelt_key_is_not_missing_too():
    recipe = {"model": "m", "data": GOOD["data"], "stage": GOOD["stages"]}
    assert faults(recipe) == [("unknown-key", "/stage")]


def test_comments_may_stand_in_any_object():
    recipe = {
        **GOOD,
        "$comment": "x",
        "data": {"$comment": "x", "train": {"$comment": 1, "path": "a"}},
        "adapter": {"$comment": "x", "use_lora": True, "quantization": {"$comment": "x"}},
        "rewards": {"$comment": "x"},
        "judges": {"$comment": "x"},
        "compute": {"$comment": "x"},
        "tracking": {"$comment": "x"},
        "eval": {"$comment": "x", "data": "train"},
        "checks": [{"$comment": "x", "metric": "loss", "max": 1}],
    }
    assert faults(recipe) == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("output_dir", "outputs/<name>"),
        ("lr", '"learning_rate"'),
        ("batch_size", '"per_device_train_batch_size"'),
        ("lora_alpha", "/adapter"),
        ("packing", "belongs to sft"),
        ("betas", '"beta"'),
        ("Learning-Rate", '"learning_rate"'),
        ("judge", 'beside "config"'),
        ("torch_dtype", "/model/dtype"),
    ],
)
def test_hints_of_unknown_fields(key, hint):
    (fault,) = check(parse(json.dumps(with_config(**{key: 1})), "f"))
    assert hint in fault.hint


def test_a_word_that_is_like_nothing_has_no_hint_made_up():
    (fault,) = check(parse(json.dumps(with_config(zzqqxx=1)), "f"))
    assert fault.hint is None


def test_faults_come_in_file_order():
    text = '{"stages": [{"name": "A", "method": "x"}],\n "data": 3,\n "model": 4,\n "zzz": 1}'
    lines = [(d.location.line, d.location.column) for d in check(parse(text, "f"))]
    assert lines == sorted(lines)
    assert len(lines) == 6
