"""Which judge `pt eval` is to use, and what is told where there is none."""

from dataclasses import replace

import pytest

from ptspec.diagnostics import InputError, StageError
from ptspec.evaluation.choose_judge import choose, judgement
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.request import judge_name
from ptspec.evaluation.targets import Target
from ptspec.recipe.plan import AdapterSpec

JUDGE = "def shorter(prompts, a, b):\n    return [float(len(x) < len(y)) for x, y in zip(a, b)]\n"
SETTINGS = Settings(seed=1, max_new_tokens=8, preference_reference=None, chat=True)


def target(**recipe):
    return Target("sft", "base", None, AdapterSpec(True), None, recipe)


def said(name, *texts):
    rows = tuple(RowMeasurement(id=str(i), prompt="q", response=text) for i, text in enumerate(texts))
    return Measurement(name, rows, {}, SETTINGS)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "judge.py").write_text(JUDGE)
    return f"{tmp_path / 'judge.py'}:shorter"


def test_the_name_is_that_asked_for_else_the_recipes():
    recipe = target(eval={"judge": "fair"})
    assert judge_name([target(), recipe], None) == "fair"
    assert judge_name([recipe], "other") == "other"
    assert judge_name([recipe], "none") is None
    assert judge_name([target()], None) is None


def test_a_function_of_the_users_own_judges(file):
    chosen = choose([target()], file, allow_code=True)
    found = judgement(chosen, [said("a", "long", "x"), said("b", "s", "longer")])
    assert (found.name, found.wins) == ("shorter", {1: {"0": 1.0, "1": 0.0}})


def test_its_code_needs_leave(file):
    with pytest.raises(InputError, match="may not run code"):
        choose([target()], file, allow_code=False)


def test_a_misspelt_judge_is_reported_with_the_near_one():
    with pytest.raises(InputError, match='no judge "breif"') as fault:
        choose([target(judges={"brief": {"function": "j.py:f"}})], "breif", allow_code=True)
    assert "brief" in (fault.value.diagnostics[0].hint or "")


def test_a_judge_that_fails_is_a_fault_of_the_question(tmp_path):
    (tmp_path / "bad.py").write_text("def bad(prompts, a, b):\n    return [2.0] * len(prompts)\n")
    chosen = choose([target()], f"{tmp_path / 'bad.py'}:bad", allow_code=True)
    with pytest.raises(InputError, match=r"returned 2\.0") as fault:
        judgement(chosen, [said("a", "x"), said("b", "y")])
    assert not isinstance(fault.value, StageError)


def test_the_judge_gets_the_form_of_the_data(tmp_path):
    (tmp_path / "s.py").write_text(
        "SEEN = []\ndef s(p, a, b):\n    SEEN.extend(a)\n    return [0.5] * len(a)\n"
    )
    chosen = choose([target()], f"{tmp_path / 's.py'}:s", allow_code=True)
    pair = [said("a", "x"), said("b", "y")]
    judgement(chosen, pair)
    judgement(chosen, [replace(one, settings=replace(SETTINGS, conversational=True)) for one in pair])
    seen = chosen.make(False).function.__globals__["SEEN"]
    turns = [[{"role": "assistant", "content": text}] for text in ("y", "x")]
    assert seen == ["y", "x", *turns]
