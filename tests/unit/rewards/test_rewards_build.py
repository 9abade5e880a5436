"""From a plan's rewards and judges to what a trainer calls."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ptspec.diagnostics import InputError, StageError
from ptspec.recipe.resolve import read_recipe
from ptspec.rewards.build import check_ready, judge, reward_functions, reward_weights
from ptspec.rewards.check import check_functions
from ptspec.rewards.endpoint import EndpointJudge
from ptspec.rewards.models import RewardModel

ROOT = Path(__file__).parents[3]
CODE = """
def brevity(completions, answer):
    return [1 / len(text) for text in completions]

def shorter(prompts, a, b):
    return [float(len(x) < len(y)) for x, y in zip(a, b)]

def wrong(prompt, completion):
    return [0.0]
"""
CHAT = {
    "prompts": [[{"role": "user", "content": "How many?"}]] * 2,
    "completions": [[{"role": "assistant", "content": text}] for text in ("Two.", "It is two")],
}


@pytest.fixture
def plan_of(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def f(:")

    def plan_of(rewards=None, judges=None):
        recipe = {
            "version": 1,
            "model": {"path": str(ROOT / "data/base_model")},
            "data": {"train": {"path": str(ROOT / "data/train.jsonl")}},
            "stages": [{"name": "sft", "method": "sft", "data": "train"}],
            "rewards": rewards or {},
            "judges": judges or {},
        }
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps(recipe))
        reading = read_recipe(path)
        assert reading.plan is not None, reading.diagnostics
        return reading.plan

    return plan_of


def no_model(spec):
    raise AssertionError(f"{spec.name} was opened")


def built(plan, names, *, strings=True, allow_code=True, open_model=no_model):
    return reward_functions(plan, names, strings=strings, allow_code=allow_code, open_model=open_model)


def test_rewards_come_in_the_order_asked_for_with_names_and_weights(plan_of):
    plan = plan_of(
        {
            "right": {"function": "exact_match", "column": "answer", "weight": 2},
            "short": {"function": "mine.py:brevity", "weight": 0.5},
        }
    )
    short, right = built(plan, ["short", "right"])
    assert (short.__name__, right.__name__) == ("short", "right")
    assert reward_weights(plan, ["short", "right"]) == [0.5, 2.0]
    columns = {"answer": ["Two", "2"], "kind": ["k", "k"], "completion_ids": [[1], [2]]}
    assert right(**CHAT, **columns) == [1.0, 0.0]
    assert short(**CHAT, **columns) == [1 / 4, 1 / 9]


def test_messages_of_the_data_stay_messages(plan_of):
    (short,) = built(plan_of({"short": {"function": "mine.py:brevity"}}), ["short"], strings=False)
    assert short(**CHAT, answer=["", ""]) == [1.0, 1.0]


def test_code_of_the_user_needs_leave_and_builtins_need_none(plan_of):
    plan = plan_of(
        {"right": {"function": "exact_match"}, "short": {"function": "mine.py:brevity"}},
        {"fair": {"function": "mine.py:shorter"}},
    )
    built(plan, ["right"], allow_code=False)
    for make in (
        lambda: built(plan, ["short"], allow_code=False),
        lambda: judge(plan, "fair", strings=True, allow_code=False, open_model=no_model),
    ):
        with pytest.raises(InputError) as error:
            make()
        assert error.value.diagnostics[0].code == "code-not-allowed"


def test_a_reward_model_gets_the_turns_it_was_trained_on(plan_of):
    seen = []

    class Model:
        device = "cpu"

    class Recorded(RewardModel):
        def __call__(self, prompts, completions, **columns):
            seen.append((self.chat, prompts))
            return [1.0] * len(prompts)

    plan = plan_of({"rm": {"model": str(ROOT / "data/base_model")}})
    for strings in (True, False):
        (rm,) = built(plan, ["rm"], strings=strings, open_model=lambda spec: Recorded(Model(), None))
        assert rm(**CHAT, answer=[1, 2]) == [1.0, 1.0]
        assert rm.__name__ == "rm"
    assert seen == [(True, CHAT["prompts"]), (False, CHAT["prompts"])]


def test_the_users_judge_gets_strings(plan_of):
    fair = judge(
        plan_of(judges={"fair": {"function": "mine.py:shorter"}}),
        "fair",
        strings=True,
        allow_code=True,
        open_model=no_model,
    )
    assert fair(CHAT["prompts"], CHAT["completions"], CHAT["completions"][::-1]) == [1.0, 0.0]
    assert fair.__name__ == "fair"


def test_a_judge_by_a_reward_is_bradley_terry_with_its_weight(plan_of):
    plan = plan_of(
        {"long": {"function": "regex", "pattern": "It.*", "weight": 2}}, {"by_length": {"reward": "long"}}
    )
    by_length = judge(plan, "by_length", strings=True, allow_code=False, open_model=no_model)
    wins = by_length(CHAT["prompts"], CHAT["completions"], CHAT["completions"][::-1])
    assert wins == pytest.approx([1 / (1 + 2.718281828**2), 1 / (1 + 2.718281828**-2)])


def test_a_judge_behind_an_endpoint_comes_from_its_options(plan_of):
    spec = {"endpoint": "http://127.0.0.1:9/v1", "model": "m", "swap": False, "template": "prompt.txt"}
    plan = plan_of(judges={"llm": spec})
    (plan.recipe.parent / "prompt.txt").write_text("{prompt} {a} {b}")
    made = judge(plan, "llm", strings=True, allow_code=False, open_model=no_model)
    assert isinstance(made, EndpointJudge)
    assert (made.model, made.options.swap, made.template) == ("m", False, "{prompt} {a} {b}")


def test_a_fault_while_running_names_the_reward_of_the_recipe(plan_of):
    plan = plan_of({"short": {"function": "mine.py:brevity"}})
    (short,) = built(plan, ["short"])
    with pytest.raises(StageError) as error:
        short(prompts=["p", "q"], completions=["x", ""], answer=["", ""])
    (found,) = error.value.diagnostics
    assert found.message.startswith('the reward "short" failed with ZeroDivisionError')
    assert "row 2 of the 2" in found.message
    assert (Path(found.location.file).name, found.location.line) == ("mine.py", 3)
    assert found.pointer == "/rewards/short"


def test_checking_a_plan_finds_what_building_it_would(plan_of):
    plan = plan_of(
        {
            "bad": {"function": "mine.py:wrong"},
            "absent": {"function": "mine.py:bravity"},
            "broken": {"function": "broken.py:f"},
            "open": {"function": "regex", "pattern": "("},
            "good": {"function": "exact_match"},
        },
        {
            "swapped": {"function": "mine.py:brevity"},
            "three": {"function": "mine.py:wrong"},
            "none": {"function": "exact_match"},
            "llm": {"endpoint": "http://127.0.0.1:9/v1?x", "model": "m", "template": "no.txt"},
        },
    )
    found = [(fault.code, fault.pointer) for fault in check_functions(plan)]
    assert found == [
        ("wrong-signature", "/rewards/bad/function"),
        ("no-such-function", "/rewards/absent/function"),
        ("not-python", "/rewards/broken/function"),
        ("wrong-reward", "/rewards/open/pattern"),
        ("wrong-signature", "/judges/swapped/function"),
        ("wrong-signature", "/judges/three/function"),
        ("wrong-judge", "/judges/none/function"),
        ("wrong-judge", "/judges/llm/endpoint"),
        ("wrong-judge", "/judges/llm/template"),
    ]
    with pytest.raises(InputError):
        judge(plan, "none", strings=True, allow_code=True, open_model=no_model)


def test_functions_that_are_there_in_other_ways_than_by_def_are_no_faults(plan_of, tmp_path):
    (tmp_path / "others.py").write_text(
        "from mine import *\n"
        "try:\n    import fast\nexcept ImportError:\n    def slow(completions): ...\n"
        "noted: object = print\nleft, right = max, min\n"
    )
    names = ("starred", "slow", "noted", "left", "right")
    plan = plan_of({name: {"function": f"others.py:{name}"} for name in names})
    assert list(check_functions(plan)) == []


def test_what_would_stop_a_later_stage_is_reported_before_the_first(plan_of, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    plan = plan_of(
        {
            "short": {"function": "mine.py:brevity"},
            "right": {"function": "exact_match"},
            "liked": {"model": str(ROOT / "data/base_model")},
            "unused": {"function": "mine.py:wrong"},
        },
        {
            "fair": {"function": "mine.py:shorter"},
            "llm": {"endpoint": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "NO_SUCH_KEY"},
            "by": {"reward": "short"},
        },
    )
    check_ready(plan, allow_code=False)

    def told(allow_code, *, judge=None, rewards=()):
        stage = replace(plan.stages[0], judge=judge, rewards=rewards)
        with pytest.raises(InputError) as error:
            check_ready(replace(plan, stages=(stage,)), allow_code=allow_code)
        return [(fault.code, fault.pointer) for fault in error.value.diagnostics]

    not_allowed = ("code-not-allowed", "/rewards/short/function")
    assert told(False, judge="by") == [not_allowed]
    assert told(False, rewards=("short", "right", "liked"), judge="fair") == [
        not_allowed,
        ("code-not-allowed", "/judges/fair/function"),
    ]
    no_key = ("missing-key", "/judges/llm/api_key_env")
    assert told(True, rewards=("short", "liked"), judge="llm") == [no_key]
    (plan.recipe.parent / "mine.py").write_text("import no_such_module_at_all")
    assert told(True, rewards=("short",), judge="llm") == [
        ("failing-import", "/rewards/short/function"),
        no_key,
    ]
