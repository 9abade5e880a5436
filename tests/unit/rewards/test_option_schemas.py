"""The options of rewards and judges, as the ordinary schema check and `--set` see them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ptspec.recipe.document import parse
from ptspec.recipe.overrides import override
from ptspec.recipe.schema import check
from ptspec.rewards.builtin import BUILTIN
from ptspec.rewards.endpoint import EndpointOptions
from ptspec.rewards.trl_rewards import TRL
from ptspec.shipped import schema

ENDPOINT = {"endpoint": "http://localhost:8000/v1", "model": "m"}


def document(rewards=None, judges=None):
    return parse(
        json.dumps(
            {
                "model": "m",
                "data": {"d": {"path": "p"}},
                "rewards": rewards or {},
                "judges": judges or {},
                "stages": [{"name": "s", "method": "grpo", "data": "d"}],
            }
        ),
        "recipe.json",
    )


def reward_faults(**given):
    return check(document(rewards={"mine": given}))


def judge_faults(**given):
    return check(document(judges={"mine": given}))


SOUND = [
    {"function": "exact_match", "column": "town", "weight": -2},
    {"function": "contains_answer"},
    {"function": "regex", "pattern": ".", "search": True},
    {"function": "length", "max": 3},
    {"function": "length", "target": 0.5},
    {"function": "json_schema", "schema": {"type": "object"}},
    {"function": "numeric_answer", "tolerance": 0.01, "$comment": "near enough"},
    {"function": "format", "tags": ["a"]},
    {"function": "choice_letter", "letters": "ABCD"},
    {"function": "choice_word", "words": ["up", "down"]},
    {"function": "json_answer", "column": "a"},
    {"function": "math_answer"},
    {"function": "accuracy_reward", "column": "answer"},
    {"function": "get_soft_overlong_punishment", "max_completion_len": 100, "soft_punish_cache": 20},
    {"function": "get_repetition_penalty_reward", "max_penalty": -0.5},
    {"function": "mine.py:f", "weight": 0},
    {"model": "owner/model", "revision": "v1"},
]


@pytest.mark.parametrize("given", SOUND, ids=str)
def test_sound_options_are_taken(given):
    assert reward_faults(**given) == []


@pytest.mark.parametrize(
    ("given", "code", "place", "message", "hint"),
    [
        (
            {"function": "lenght"},
            "not-one-of",
            "/function",
            "not one of its values",
            'did you mean "length"?',
        ),
        ({"function": "length"}, "missing-key", "", 'reward "mine" needs "max" or "target"', None),
        ({"function": "length", "max": 3, "target": 3}, "out-of-range", "/max", "may not", "keep one"),
        ({"function": "length", "max": "3"}, "wrong-type", "/max", "not a number", "write 3"),
        ({"function": "length", "max": True}, "wrong-type", "/max", "not a number", None),
        ({"function": "length", "max": 0}, "out-of-range", "/max", "greater than 0", "a number of words"),
        (
            {"function": "length", "maximum": 3, "max": 1},
            "unknown-key",
            "/maximum",
            "a length reward",
            '"max"',
        ),
        ({"function": "regex"}, "missing-key", "", 'reward "mine" needs "pattern"', "A regular expression"),
        (
            {"function": "regex", "pattern": "a", "search": 1},
            "wrong-type",
            "/search",
            "true or",
            "write true",
        ),
        ({"function": "format", "tags": []}, "wrong-length", "/tags", "is empty", None),
        ({"function": "format", "tags": ["a", 1]}, "wrong-type", "/tags/1", "not a string", None),
        ({"function": "json_schema", "schema": 1}, "wrong-type", "/schema", "not an object", None),
        ({"function": "exact_match", "column": 3}, "wrong-type", "/column", "not a string", None),
        ({"function": "numeric_answer", "tolerance": -1}, "out-of-range", "/tolerance", "at least 0", None),
        ({"function": "mine.py:f", "max": 3}, "unknown-key", "/max", "a reward of your own", None),
        ({"model": "owner/m", "dtype": "float32"}, "unknown-key", "/dtype", "a reward model", "revision"),
        ({"function": "exact_match", "weight": 1e300}, "out-of-range", "/weight", "at most 1000000", None),
        ({"function": "exact_match", "weight": "2"}, "wrong-type", "/weight", "not a number", "write 2"),
    ],
)
def test_a_wrong_option_is_told_at_its_place(given, code, place, message, hint):
    (fault,) = reward_faults(**given)
    assert (fault.code, fault.pointer) == (code, f"/rewards/mine{place}")
    assert message in fault.message
    assert (hint or "") in (fault.hint or "")


def test_each_builtin_reward_has_its_options_in_the_schema():
    shipped = schema("rewards.schema.json")
    assert shipped["properties"]["function"]["then"]["enum"] == [*BUILTIN, *TRL]
    referred = {part["then"]["$ref"].rpartition("/")[2] for part in shipped["allOf"]}
    assert referred == {*BUILTIN, *TRL} | {"user_function", "model", "by_column"}
    for name, reward in BUILTIN.items():
        options = shipped["$defs"][name]["properties"].keys() - {"$comment", "function", "weight"}
        assert ("column" in options) == bool(reward.columns)
        assert reward.check is None or reward.check.option in options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -1),
        ("temperature", "0"),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_concurrency", True),
        ("max_concurrency", 10**9),
        ("timeout", 0),
        ("retries", -1),
        ("retries", 2000),
        ("swap", 1),
        ("template", 3),
        ("api_key_env", 7),
        ("tempreature", 0.5),
        ("model", ""),
    ],
)
def test_each_wrong_option_of_an_endpoint_is_told_by_name(option, value):
    (fault,) = judge_faults(**{**ENDPOINT, option: value})
    assert fault.pointer == f"/judges/mine/{option}"
    assert f'"{option}"' in fault.message


def test_sound_options_of_judges_are_taken():
    assert judge_faults(**ENDPOINT, temperature=None, retries=0, api_key_env="MY_KEY", swap=False) == []
    assert judge_faults(function="mine.py:f") == judge_faults(reward="right") == []


SECRET = "sk-secret-42"


@pytest.mark.parametrize(
    "given",
    [
        {"api_key_env": SECRET},
        {"api_key_env": [SECRET]},
        {"api_key": SECRET},
        {"token": SECRET},
        {"headers": {"Authorization": SECRET}},
    ],
    ids=str,
)
def test_a_key_in_the_recipe_is_refused_and_not_repeated(given):
    (fault,) = judge_faults(**ENDPOINT, **given)
    assert SECRET not in fault.message + (fault.hint or "")
    assert "key" in fault.hint


def test_a_judge_takes_only_what_it_uses():
    (fault,) = judge_faults(endpoint=ENDPOINT["endpoint"])
    assert (fault.message, fault.pointer) == ('judge "mine" needs "model"', "/judges/mine")
    (fault,) = judge_faults(reward="right", temperature=1)
    assert (fault.code, fault.pointer) == ("unknown-key", "/judges/mine/temperature")
    (fault,) = judge_faults(function="mine.py:f", model="m")
    assert (fault.code, fault.pointer) == ("unknown-key", "/judges/mine/model")


def test_the_options_of_an_endpoint_are_those_of_the_schema():
    properties = schema("judges.schema.json")["$defs"]["endpoint"]["properties"]
    described = properties.keys() - {"$comment", "endpoint", "model"}
    fields = {field.name: field.default for field in dataclasses.fields(EndpointOptions)}
    assert described == fields.keys()
    defaults = {name: properties[name].get("default") for name in described}
    assert defaults == fields


def test_set_takes_the_type_that_the_option_has():
    given = {"style": {"function": "regex", "pattern": "a"}}
    changed = override(document(rewards=given), ["rewards.style.pattern=5"])
    assert changed.value["rewards"]["style"]["pattern"] == "5"
    changed = override(document(judges={"llm": ENDPOINT}), ["judges.llm.retries=5", "judges.llm.template=5"])
    assert changed.value["judges"]["llm"] == {**ENDPOINT, "retries": 5, "template": "5"}


def test_a_reward_that_a_stage_names_twice_is_told():
    recipe = document(rewards={"r": {"function": "length", "max": 3}}).value
    recipe["stages"][0]["rewards"] = ["r", "r"]
    recipe["eval"] = {"data": "d", "metrics": ["loss", "r", "loss"]}
    first, second = check(parse(json.dumps(recipe), "recipe.json"))
    assert (first.code, first.pointer) == ("repeated-item", "/stages/0/rewards/1")
    assert first.message == '"r" stands in "rewards" twice'
    assert (second.code, second.pointer) == ("repeated-item", "/eval/metrics/2")
