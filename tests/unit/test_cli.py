"""Exit codes and what goes where; no input ends in a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptspec.cli import COMMANDS, main
from ptspec.methods import METHODS

ROOT = Path(__file__).parent.parent.parent
GOOD = {
    "model": "tiny/llama",
    "data": {"train": {"path": "tiny/rows"}},
    "stages": [
        {"name": "sft", "method": "sft", "data": "train"},
        {"name": "dpo", "method": "dpo", "data": "train"},
    ],
}

NOT_LOOKED_AT = "not looked at: the hub (offline: HF_HUB_OFFLINE): tiny/llama, tiny/rows\n"


@pytest.fixture
def pt(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(json.dumps(GOOD))
    Path("bad.json").write_text(json.dumps({**GOOD, "sede": 1}))

    def pt(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return pt


def test_a_valid_recipe_is_one_line(pt):
    line = "good.json: valid · 2 stages (sft → dpo)\n"
    assert pt("validate", "good.json") == (0, "", line + NOT_LOOKED_AT)


def test_faults_go_to_stderr_and_give_exit_code_2(pt):
    code, out, err = pt("validate", "bad.json", "good.json")
    assert (code, out) == (2, "")
    assert 'did you mean "seed"?' in err
    assert "good.json: valid" in err
    assert err.endswith("1 error.\n" + NOT_LOOKED_AT)


def test_a_warning_is_reported_and_passes(pt):
    code, _, err = pt("validate", "good.json", "--set", "stages.sft.config.max_steps=3",
                      "--set", "stages.sft.config.num_train_epochs=1")  # fmt: skip
    assert code == 0
    assert err.endswith("good.json: valid · 2 stages (sft → dpo) · 1 warning\n" + NOT_LOOKED_AT)


def test_json_goes_to_stdout_one_object_a_line(pt):
    code, out, err = pt("validate", "--format", "json", "bad.json", "good.json", "none.json")
    assert (code, err) == (2, "")
    told = [json.loads(line) for line in out.splitlines()]
    errors = [one["code"] for one in told if one["severity"] == "error"]
    notes = [one["code"] for one in told if one["severity"] == "note"]
    assert errors == ["unknown-key", "no-such-file"]
    assert (notes, len(told)) == (["not-looked-at"] * 4, 6)


def test_github_annotations(pt):
    code, out, _ = pt("validate", "--format", "github", "bad.json")
    assert code == 2
    assert out.startswith("::error title=unknown-key,file=bad.json,line=1,col=")


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate",),
        ("validat", "x"),
        ("validate", "good.json", "--foo"),
        ("validate", "--format", "xml", "x"),
        ("validate", "none.json"),
        ("validate", "."),
        ("validate", "good.json", "--set", "x"),
        ("methods", "dop"),
        ("methods", "a", "b"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_gives_exit_code_2(pt, arguments):
    code, out, err = pt(*arguments)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


def test_help_and_version(pt):
    told = pt("--help")[1]
    assert "validate" in told
    assert "..." not in told.partition("Commands:")[2], "no description is cut"
    assert pt() == pt("--help")
    assert pt("--version")[1].startswith("ptspec ")


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_80_columns(pt, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    code, told, _ = pt(*filter(None, [command]), "--help")
    assert code == 0
    assert [line for line in told.splitlines() if len(line) > 80] == []
    below = told.partition("\n")[2]
    assert not re.search(r"\.\.\.$|<int range>|\[\[", below, re.MULTILINE), told


def test_commands_stand_in_the_order_of_use(pt):
    told = pt("--help")[1].partition("Commands:")[2]
    listed = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line[2] != " "]
    assert listed == list(COMMANDS)
    assert listed[:8] == ["init", "validate", "plan", "rows", "run", "runs", "eval", "chat"]


@pytest.mark.parametrize(
    ("typed", "at", "completed"),
    [("pt ru", 1, ["run", "runs"]), ("pt eval --comp", 2, ["--compare"]), ("pt init --ch", 2, ["--chosen"])],
)
def test_the_shell_completes(tmp_path, typed, at, completed):
    asked = {"_PT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(at)}
    command = [sys.executable, "-m", "ptspec.cli"]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, completed), done.stderr


def test_completion_is_installed(tmp_path):
    """Which shell asks is found by its process, so that one has to be there."""
    typed = f"{sys.executable} -m ptspec.cli --install-completion; exit $?"
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", typed], env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "_PT_COMPLETE=complete_bash" in (tmp_path / ".bash_completions/pt.sh").read_text()


def test_methods(pt):
    code, out, _ = pt("methods")
    assert code == 0
    assert all(f"\n{name} " in out for name in METHODS)
    for name in METHODS:
        code, out, _ = pt("methods", name)
        assert code == 0
        assert "a stage to paste" in out


def test_the_stage_to_paste_is_right(pt):
    for name in METHODS:
        stage = json.loads(pt("methods", name)[1].rpartition("a stage to paste\n")[2])
        recipe = {
            **GOOD,
            "adapter": {"use_lora": True},
            "stages": [stage],
            "rewards": {reward: {"function": "exact_match"} for reward in stage.get("rewards", ())},
            "judges": {stage["judge"]: {"endpoint": "http://localhost/v1"}} if "judge" in stage else {},
        }
        Path("pasted.json").write_text(json.dumps(recipe))
        code, _, err = pt("validate", "pasted.json")
        assert (code, "learning-rate" in err) == (0, False), err


def test_schema(pt):
    code, out, _ = pt("schema")
    assert code == 0
    assert json.loads(out)["title"] == "a recipe"
    assert pt("schema", "--output", "schemas")[0] == 0
    assert Path("schemas/trl/dpo.schema.json").is_file()
    Path("file").write_text("")
    code, _, err = pt("schema", "--output", "file/below")
    assert (code, "not-writable" in err) == (2, True)


def broken(*_: object) -> None:
    raise ZeroDivisionError("of our own")


def test_a_bug_says_so_and_shows_its_traceback_on_demand(pt, monkeypatch):
    monkeypatch.setattr("ptspec.checks.preflight.read_recipe", broken)
    monkeypatch.delenv("PT_DEBUG", raising=False)
    code, _, err = pt("validate", "good.json")
    assert code == 1
    assert "bug of ptspec" in err
    assert "Traceback" not in err
    monkeypatch.setenv("PT_DEBUG", "1")
    assert "Traceback" in pt("validate", "good.json")[2]


def test_an_interrupt_gives_exit_code_130(pt, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ptspec.checks.preflight.read_recipe", interrupted)
    assert pt("validate", "good.json")[0] == 130


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "cp1252"])
def test_any_encoding_of_the_terminal_will_do(tmp_path, encoding):
    file = tmp_path / "r.json"
    file.write_text('{"é→": "\\ud800", "model": 3}', "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ptspec.cli", "validate", str(file)],
        capture_output=True, cwd=ROOT, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"lone-surrogate" in done.stderr


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\xff", b"[", b"{" * 5000, b"nul", b'"', b"1" * 5000, b'{"stages": [[[{}]]]}', b"{}"],
)
def test_any_bytes_are_reported_what_is_wrong(pt, data):
    Path("any.json").write_bytes(data)
    code, _, err = pt("validate", "any.json")
    assert code == 2
    assert err.startswith("any.json")
    assert "bug of ptspec" not in err


GONE = """
import os, sys
from unittest import mock
from ptspec import cli
read, write = os.pipe()
os.close(read)
os.dup2(write, 1)
def interrupted(arguments):
    sys.stdout.write("left in the buffer")
    return 130
with mock.patch.object(cli, "_run", interrupted):
    cli.main([])
"""


def test_a_reader_that_is_gone_changes_no_exit_code():
    """What is left in a buffer at the end cannot be written: Python would end with 120 and a complaint."""
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", GONE], capture_output=True, env=buffered)
    assert (done.returncode, done.stderr) == (130, b"")
