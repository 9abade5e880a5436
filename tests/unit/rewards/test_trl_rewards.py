"""TRL's own reward functions, named in a recipe."""

import inspect
import subprocess
import sys

import pytest
import trl.rewards

from ptspec.rewards.builtin import builtin
from ptspec.rewards.trl_rewards import TRL
from ptspec.shipped import schema

SKIPPED = {"completions", "solution", "log_extra", "kwargs", "completion_ids"}


def test_every_reward_of_trl_is_known_with_its_options():
    names = [name for part in trl.rewards._import_structure.values() for name in part]
    assert sorted(TRL) == sorted(names)
    for name, reward in TRL.items():
        properties = schema("rewards.schema.json")["$defs"][name]["properties"]
        options = properties.keys() - {"$comment", "function", "weight", "column"}
        parameters = inspect.signature(getattr(trl.rewards, name)).parameters
        assert options == parameters.keys() - SKIPPED
        assert ("column" in properties) == bool(reward.columns)
        for option in options:
            default = parameters[option].default
            if default not in (None, inspect.Parameter.empty):
                assert properties[option]["default"] == default


def test_which_need_the_solution_and_math_verify():
    source = {name: inspect.getsource(inspect.getmodule(getattr(trl.rewards, name))) for name in TRL}
    for name, reward in TRL.items():
        assert ("math_verify" in source[name]) == (reward.module == "math_verify")
        assert (reward.columns == ("solution",)) == (reward.module == "math_verify")


@pytest.mark.parametrize("as_chat", [False, True])
def test_they_give_what_trl_gives(as_chat):
    texts = [
        r"It is \boxed{\frac{1}{3}}",
        r"It is \boxed{\frac{1}{2}}",
        r"<think>a</think> \boxed{1/3}",
        "no",
    ]
    chats = [[{"role": "assistant", "content": text}] for text in texts]
    given = chats if as_chat else texts
    solution = [r"\frac{1}{3}"] * 4
    for name in ("accuracy_reward", "reasoning_accuracy_reward", "think_format_reward"):
        ours = builtin(name)(prompts=["q"] * 4, completions=given, solution=solution)
        assert ours == getattr(trl.rewards, name)(completions=chats, solution=solution)
    ids = [[1] * n for n in (5, 90, 100, 200)]
    ours = builtin("get_soft_overlong_punishment", {"max_completion_len": 100, "soft_punish_cache": 20})
    assert ours(prompts=["q"] * 4, completions=given, completion_ids=ids) == [0, -0.5, -1, -1]
    cosine = builtin("get_cosine_scaled_reward", {"max_len": 100})
    expected = trl.rewards.get_cosine_scaled_reward(100)(chats, solution, ids)
    assert cosine(prompts=["q"] * 4, completions=given, completion_ids=ids, solution=solution) == expected
    repetition = builtin("get_repetition_penalty_reward", {"ngram_size": 2})
    assert repetition(prompts=["q"], completions=given[:1], completion_ids=[[5, 5, 5, 5]]) == pytest.approx(
        [-2 / 3]
    )


def test_the_solution_may_have_another_name_and_rows_without_one_have_no_say():
    reward = builtin("accuracy_reward", {"column": "answer"})
    texts = [r"\boxed{2}", r"\boxed{2}", r"\boxed{2}"]
    assert reward(prompts=["q"] * 3, completions=texts, answer=["2", None, 3]) == [1, None, 0]
    delimited = builtin("reasoning_accuracy_reward", {"reasoning_delimiters": ["###"]})
    assert delimited(prompts=["q"], completions=[r"so ### \boxed{2}"], solution=["2"]) == [1]


def test_knowing_them_imports_no_trl():
    code = "import ptspec.rewards.builtin, sys; sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
