"""Which columns a reward asks for, known before anything starts and without running code."""

import subprocess
import sys

import pytest

from ptspec.recipe.signals import RewardSpec
from ptspec.rewards.columns import columns_needed


@pytest.mark.parametrize(
    ("function", "options", "needed"),
    [
        ("exact_match", {}, (("output", "answer"),)),
        ("exact_match", {"column": "town"}, (("town",),)),
        ("contains_answer", {}, (("answer",),)),
        ("numeric_answer", {"tolerance": 1}, (("answer", "output"),)),
        ("regex", {"pattern": "."}, ()),
        ("length", {"max": 3}, ()),
        ("json_schema", {"schema": {}}, ()),
        ("format", {}, ()),
    ],
)
def test_of_a_builtin_reward(function, options, needed):
    assert columns_needed(RewardSpec("r", function, options=options)) == needed


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("def f(completions): ...", ()),
        ("def f(prompts, completions, completion_ids, trainer_state, log_extra, log_metric): ...", ()),
        ("def f(completions, answer, *, town, kind=None): ...", (("answer",), ("town",))),
        ("async def f(completions, answer): ...", (("answer",),)),
        ("def f(completions, answer, **columns): ...", (("answer",),)),
        ("def f(completions, **columns): ...", None),
        ("if True:\n    def f(completions, answer): ...", (("answer",),)),
        ("@wrapped\ndef f(completions, answer): ...", None),
        ("f = g", None),
        ("from mine import f", None),
        ("from mine import *", None),
        ("try:\n    from fast import f\nexcept ImportError:\n    def f(completions, answer): ...", None),
        ("def g(): ...", None),
        ("def f(:", None),
    ],
)
def test_of_a_function_of_the_users(tmp_path, text, needed):
    (tmp_path / "mine.py").write_text(f"{text}\n")
    assert columns_needed(RewardSpec("r", f"{tmp_path / 'mine.py'}:f")) == needed


def test_of_a_reward_model_and_of_a_file_that_is_not_there(tmp_path):
    assert columns_needed(RewardSpec("r", model="owner/model")) == ()
    assert columns_needed(RewardSpec("r", f"{tmp_path / 'none.py'}:f")) is None


def test_asking_loads_nothing_heavy():
    code = (
        "import sys; from ptspec.rewards.columns import columns_needed;"
        "assert not {'torch', 'transformers', 'trl', 'datasets', 'numpy', 'jsonschema'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
