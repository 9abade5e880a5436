"""Names that no file system takes are names of nothing: an error with its place, no traceback."""

from __future__ import annotations

import json

import pytest
from support.small import ROOT

LONG = "x" * 300


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        stage = {"name": "s", "method": "grpo", "data": "d", "rewards": ["r"]}
        given = {
            "model": str(ROOT / "data/base_model"),
            "data": {"d": {"path": str(ROOT / "data/train.jsonl")}},
            "rewards": {"r": {"function": "length", "target": 3}},
            "stages": [stage],
        }
        (tmp_path / "r.json").write_text(json.dumps({**given, **changes}))
        return "r.json"

    return write


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rewards": {"r": {"function": f"{LONG}.py:reward"}}}, "no-such-file"),
        ({"rewards": {"r": {"model": LONG}}}, None),
        ({"data": {"d": {"path": f"{LONG}.jsonl"}}}, "no-such-data"),
        ({"model": f"{LONG}/x"}, None),
    ],
    ids=["reward", "reward model", "data", "model"],
)
@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_in_a_recipe(here, recipe, command, changes, code):
    done = here(command, recipe(**changes))  # a bug of ours would be told
    if code is None and command != "run":
        return  # it may be the name of a repository on the hub, which is not looked at here
    assert done.code == 2, done.stderr
    assert code is None or f"error[{code}]" in done.stderr


@pytest.mark.parametrize("arguments", [("eval", LONG), ("init", "--data", LONG), ("report", LONG)])
def test_on_the_command_line(here, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert here(*arguments).code == 2


def test_where_functions_are_loaded(tmp_path):
    from ptspec.diagnostics import InputError
    from ptspec.rewards.contract import Kind
    from ptspec.rewards.source import check_user_function
    from ptspec.rewards.user import load_user_function

    name = f"{LONG}.py:reward"
    assert check_user_function(name, Kind.REWARD, "/rewards/r").code == "no-such-file"
    with pytest.raises(InputError, match="no such file"):
        load_user_function(name, Kind.REWARD, allow_code=True, at="/rewards/r")
