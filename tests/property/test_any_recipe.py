"""No recipe, however wrong, ends in an exception: each gives a plan or faults with places."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.json_places import places

from ptspec.diagnostics import Severity
from ptspec.recipe.resolve import read_recipe
from ptspec.report.diagnostics import Format, render
from ptspec.rewards.check import check_functions

WORDS = [
    *(
        "sft",
        "dpo",
        "base",
        "x",
        "train",
        "a",
        "heldout",
        "style",
        "",
        ".",
        "..",
        "/",
        "~",
        "a/b",
        "a:b",
        ":f",
    ),
    *(
        "r.json",
        "*",
        "**",
        "[",
        "a\0b",
        "é\n",
        "x.py:f",
        "http://x",
        "all-linear",
        "continue",
        "stack",
        "merge",
    ),
]
KEYS = [
    *(
        "name",
        "method",
        "data",
        "from",
        "path",
        "mix",
        "config",
        "adapter",
        "use_lora",
        "use_qlora",
        "handover",
    ),
    *(
        "checks",
        "metric",
        "min",
        "max",
        "over",
        "eval",
        "judge",
        "rewards",
        "reward",
        "by",
        "otherwise",
        "function",
        "model",
        "x",
    ),
    *(
        "quantization",
        "endpoint",
        "columns",
        "limit",
        "loss_weights",
        "max_steps",
        "bf16",
        "$comment",
        "version",
    ),
]
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 3), st.just(0.5), st.just(1e300), st.sampled_from(WORDS)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=6,
)
FULL = {
    "version": 1,
    "name": "x",
    "model": {"path": "a/b", "chat_template": "t"},
    "adapter": {"use_lora": True, "r": 8, "quantization": {"load_in_4bit": True}},
    "data": {"train": {"path": ["a/b"], "columns": {"a": "b"}}, "mixed": {"mix": {"train": 1}}},
    "rewards": {
        "style": {"function": "regex", "pattern": "."},
        "trained": {"model": "a/b"},
        "chosen": {"by": "kind", "rewards": {"a": "style", "b": "trained"}, "otherwise": None},
    },
    "judges": {"fair": {"reward": "style"}},
    "stages": [
        {"name": "sft", "method": "sft", "data": "train", "config": {"max_steps": 3, "bf16": True}},
        {
            "name": "dpo",
            "method": "dpo",
            "data": "mixed",
            "from": "sft",
            "handover": "merge",
            "adapter": {"r": 4},
            "rewards": ["style"],
            "judge": "fair",
            "config": {"loss_type": ["sigmoid"], "loss_weights": [1.0]},
            "checks": [{"metric": "loss", "max_increase": 0.1, "over": "sft"}],
        },
    ],
    "eval": {"data": "train", "metrics": ["loss"], "judge": "fair"},
    "checks": [{"metric": "style", "min": 0.1}],
    "compute": {"precision": "bf16"},
    "tracking": {"report_to": ["wandb"]},
}


@st.composite
def recipes(draw):
    value = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(1, 4))):
        if not (found := places(value)):
            break
        container, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["replace", "delete", "add"])):
            case "replace":
                container[key] = draw(VALUES)
            case "delete":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(st.sampled_from(KEYS))] = draw(VALUES)
            case "add":
                container.insert(0, draw(VALUES))
    return value


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(recipes())
def test_any_recipe_gives_a_plan_or_faults(folder, value):
    file = Path("r.json")
    file.write_text(json.dumps(value, indent=1))
    reading = read_recipe(file)
    errors = [d for d in reading.diagnostics if d.severity is Severity.ERROR]
    assert (reading.plan is None) == bool(errors)
    assert all(d.location is not None and d.message for d in reading.diagnostics)
    assert len({(d.pointer, d.message) for d in reading.diagnostics}) == len(reading.diagnostics)
    if reading.partial is not None:
        list(check_functions(reading.partial))
    for format in Format:
        render(reading.diagnostics, format).encode()


PATHS = st.lists(st.sampled_from([*KEYS, "0", "7", "", "sft", "stages"]), max_size=5).map(".".join)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PATHS, VALUES.map(json.dumps) | st.sampled_from(WORDS))
def test_any_override_gives_a_plan_or_faults(folder, path, text):
    file = Path("r.json")
    file.write_text(json.dumps(FULL))
    reading = read_recipe(file, [f"{path}={text}"])
    assert reading.plan is not None or reading.errors
    render(reading.diagnostics, Format.TEXT).encode()
