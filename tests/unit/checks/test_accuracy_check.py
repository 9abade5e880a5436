"""What `pt validate` says of accuracy: by what a response counts as right, and what stands in its way."""

import json
import sys
from pathlib import Path

import pytest

from ptspec.checks.preflight import preflight
from ptspec.report.tables import ProgressTable
from ptspec.report.view.policies import Policy

BASE = Path(__file__).parents[3] / "data" / "base_model"


def read(folder, rows, rewards=None, **evaluation):
    for name, lines in {"train": [{"prompt": "a?", "completion": "b"}] * 2, "heldout": rows}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = {
        "version": 1,
        "model": str(BASE),
        "adapter": {"use_lora": True},
        "data": {"train": {"path": "train.jsonl"}, "heldout": {"path": "heldout.jsonl"}},
        "stages": [{"name": "sft", "method": "sft", "data": "train", "config": {"learning_rate": 1e-4}}],
        "eval": {"data": "heldout", **evaluation},
        **({"rewards": rewards} if rewards else {}),
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return preflight(folder / "recipe.json")


def answered(*answers):
    return [{"prompt": f"q{n}?", "answer": answer} for n, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (
            answered("A", "B"),
            "accuracy by choice_letter: all 2 right answers are single letters (to change it: eval.accuracy)",
        ),
        (
            answered("yes", "no"),
            "accuracy by choice_word: all 2 right answers are yes or no (to change it: eval.accuracy)",
        ),
        (
            answered(3, "4"),
            "accuracy by numeric_answer: all 2 right answers are numbers (to change it: eval.accuracy)",
        ),
        (
            answered("in Tarn"),
            "accuracy by contains_answer: the right answer is short texts (to change it: eval.accuracy)",
        ),
        (
            [{"prompt": "q?", "completion": "word " * 60}],
            'no accuracy: the rows have no column "answer", and eval.accuracy names no reward',
        ),
    ],
)
def test_what_is_right_is_said_before_the_run(tmp_path, rows, note):
    reading = read(tmp_path, rows)
    assert reading.errors == ()
    (said,) = reading.notes
    assert said.startswith(note)


def test_a_reward_that_is_named_is_said_and_needs_what_it_compares_with(tmp_path):
    rows = [{"prompt": "q?", "completion": "b"}]
    reading = read(tmp_path, rows, accuracy={"function": "exact_match"}, metrics=["accuracy"])
    assert reading.errors == () and reading.notes == ("accuracy by exact_match, which eval.accuracy names",)
    reading = read(tmp_path, [{"prompt": "q?"}], accuracy={"function": "exact_match"})
    (error,) = reading.errors
    assert (error.code, error.pointer) == ("missing-column", "/eval/accuracy")
    reading = read(
        tmp_path, [{"prompt": "q?"}], accuracy={"function": "regex", "pattern": "a"}, metrics=["accuracy"]
    )
    assert reading.errors == ()


@pytest.mark.parametrize(
    "given",
    [{"function": "length", "max": 3}, {"function": "mine.py:f"}, {"function": "exact_match", "weight": 2}],
)
def test_only_rewards_of_0_and_1_say_what_is_right(tmp_path, given):
    (error,) = read(tmp_path, answered("a"), accuracy=given).errors
    assert error.pointer.startswith("/eval/accuracy/")


def test_the_rewards_that_can_be_named_are_those_that_are_not_graded():
    from ptspec.rewards.builtin import BUILTIN
    from ptspec.rewards.trl_rewards import TRL
    from ptspec.shipped import schema

    named = schema("recipe.schema.json")["$defs"]["eval"]["properties"]["accuracy"]["properties"]["function"]
    assert named["enum"] == [name for name, one in {**BUILTIN, **TRL}.items() if not one.is_graded]


def test_a_missing_package_is_told_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    rewards = {"right": {"function": "accuracy_reward", "column": "answer"}}
    reading = read(tmp_path, answered("2"), rewards, accuracy={"function": "math_answer"})
    found = {(error.code, error.pointer, error.hint) for error in reading.errors}
    assert found == {
        ("missing-package", "/rewards/right/function", "pip install 'ptspec[math]'"),
        ("missing-package", "/eval/accuracy/function", "pip install 'ptspec[math]'"),
    }


def test_the_column_that_a_reward_of_trl_needs_is_told(tmp_path):
    reading = read(tmp_path, answered("2"), {"right": {"function": "accuracy_reward"}})
    (error,) = reading.errors
    assert (error.code, error.pointer) == ("missing-column", "/rewards/right")
    assert '"solution"' in error.message


def test_right_answers_without_a_say_are_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    reading = read(tmp_path, answered(r"\frac{1}{2}", "3", "x^2"))
    (warning,) = [one for one in reading.diagnostics if one.code == "not-compared"]
    assert warning.message.startswith(
        "numeric_answer cannot score 2 of 3 right answers, which are expressions"
    )


def test_the_table_says_by_what_a_response_is_right():
    from ptspec.events import Figure

    def told(accuracy):
        figures = {"accuracy": Figure(0.5, 0.4, 0.6)}
        return ProgressTable([Policy("base", figures, accuracy=accuracy)]).plain(100)

    text = told("choice_letter: all 2 right answers are single letters")
    assert text.endswith("accuracy by choice_letter: all 2 right answers are single letters\n")
    assert "accuracy by" not in told(None)


def test_an_evaluation_over_a_mix_says_that_it_reads_all_of_it(tmp_path):
    read(tmp_path, answered("A", "B"))
    file = tmp_path / "recipe.json"
    recipe = json.loads(file.read_text())
    recipe["data"]["both"] = {"mix": {"train": 0.9, "heldout": 0.1}}
    recipe["eval"]["data"] = "both"
    file.write_text(json.dumps(recipe))
    said = 'the evaluation reads every row of train, heldout: the weights of "both" are not used'
    assert said in preflight(file).notes
    recipe["data"]["both"] = {"concat": ["train", "heldout"]}
    file.write_text(json.dumps(recipe))
    assert said not in preflight(file).notes
