"""Whatever names, data, models and recipes hold, nothing of it can command the terminal that shows it."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from support.small import ROOT, write_recipe

from ptspec import cli
from ptspec.chat.piped import Pipe
from ptspec.commands.options import say
from ptspec.diagnostics import Diagnostic, InputError

EVIL = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066\x9b31m\x08"


def is_safe(text: str) -> bool:
    return not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.fixture
def told(capsys):
    """What a command says, on both streams."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit):
            cli.main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        assert "error[bug]" not in streams.err
        return streams.out + streams.err

    return run


def evil_data(folder: Path) -> Path:
    rows = folder / f"rows{EVIL}.jsonl"
    shutil.copy(ROOT / "data" / "train.jsonl", rows)
    return rows


def test_names_of_files(told, tmp_path):
    missing = tmp_path / f"{EVIL}.json"
    for command in (["run"], ["validate"], ["plan"], ["verify"], ["report"], ["eval"]):
        assert is_safe(told(*command, missing)), command
    assert is_safe(told("export", missing, tmp_path / EVIL))
    assert is_safe(told("init", "--data", missing, "-o", tmp_path / f"out{EVIL}.json"))
    assert is_safe(told("init", "-o", tmp_path / f"out{EVIL}.json"))
    assert is_safe(told("schema", "--output", tmp_path / f"schemas{EVIL}"))


@pytest.mark.parametrize("format", ["text", "json", "github"])
def test_what_stands_in_a_recipe_and_in_data(told, tmp_path, format):
    def change(recipe: dict) -> None:
        recipe["data"]["train"] = {"path": str(evil_data(tmp_path)), "columns": {EVIL: "prompt"}}
        recipe["stages"][0]["name"] = EVIL
        recipe["stages"][0]["config"][f"learning_rate{EVIL}"] = EVIL
        recipe["stages"][1]["from"] = EVIL
        recipe["description"] = EVIL

    assert is_safe(told("validate", write_recipe(tmp_path, change), "--format", format))
    assert is_safe(told("validate", write_recipe(tmp_path), "--set", f"stages.sft.{EVIL}={EVIL}"))
    rows = evil_data(tmp_path)
    rows.write_text(json.dumps({EVIL: EVIL, "prompt": 3}) + "\n" + EVIL + "\n")
    told_of = told("validate", write_recipe(tmp_path, change), "--format", format)
    assert is_safe(told_of)
    raw = write_recipe(tmp_path)
    raw.write_text(raw.read_text().replace('"small"', f'"{EVIL}"'))
    assert is_safe(told("validate", raw, "--format", format))


def test_a_plan_over_data_of_that_name(told, tmp_path):
    def change(recipe: dict) -> None:
        recipe["data"]["train"]["path"] = str(evil_data(tmp_path))

    recipe = write_recipe(tmp_path, change)
    for options in ([], ["--format", "json"], ["-o", tmp_path / f"plan{EVIL}.json"]):
        shown = told("plan", recipe, "--output", tmp_path / EVIL, *options)
        assert is_safe(shown)
        assert "sft" in shown
    assert is_safe(told("run", recipe, "--until", EVIL))
    assert is_safe(told("run", recipe, f"--{EVIL}"))


def test_remarks_and_faults_of_a_chat(capsys):
    Pipe().remark(EVIL)
    Pipe().fault(InputError(Diagnostic("x", EVIL, hint=EVIL, notes=(EVIL,))))
    say(EVIL)
    streams = capsys.readouterr()
    assert is_safe(streams.out + streams.err)
    assert "evil" in streams.err


@pytest.mark.slow
def test_a_run_of_that_name_and_what_its_models_said(told, small_run, tmp_path):
    run = tmp_path / f"run{EVIL}"
    shutil.copytree(small_run.output, run)
    rows = run / "dpo" / "evaluation_rows.jsonl"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for line in lines:
        line |= {"response": f"{line['response']}{EVIL}", "correct": not line["correct"], "expected": EVIL}
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "sft" / EVIL).write_text("")
    assert "added" in told("verify", run)
    for command in (
        ["verify", run],
        ["eval", run],
        ["eval", run, "--format", "json"],
        ["eval", "--compare", run / "sft", run / "dpo", "--show", "3"],
        ["eval", "--compare", run / "sft", run / "dpo", "--show", "3", "--format", "json"],
        ["report", run],
    ):
        shown = told(*command)
        assert is_safe(shown), command
        assert len(shown) > 20
