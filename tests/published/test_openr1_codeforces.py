"""Open-R1's rewards for Codeforces problems, asked of a server that answers as Piston does."""

import importlib.util
from pathlib import Path

import pytest
from support.json_server import json_server

FILE = Path(__file__).parent.parent.parent / "recipes" / "published" / "openr1_codeforces.py"
SPEC = importlib.util.spec_from_file_location("openr1_codeforces", FILE)
rewards = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(rewards)

TESTS = [{"input": "1\n", "output": "2\n"}, {"input": "2\n", "output": "4\n"}]
ROW = {"language": "python", "official_tests": TESTS, "generated_checker": "check", "time_limit": 2.0}
ROW |= {"memory_limit": 256.0, "input_mode": "stdio"}


def piston(path, body):
    """Answers for a program that is "right", "half" (right for an input of 1) or "broken" C++."""
    files = {file["name"]: file["content"] for file in body["files"]}
    (program,) = (text for name, text in files.items() if name.startswith("main."))
    if program == "broken\n":
        return 200, {"compile": {"code": 1}, "run": {"code": 1, "stdout": ""}}
    passes = program == "right\n" or (program == "half\n" and files["input.txt"] == "1\n")
    return 200, {"compile": {"code": 0}, "run": {"code": 0, "stdout": f"{int(passes)}\n", "stderr": ""}}


def solves(*texts, **row):
    columns = {name: [value] * len(texts) for name, value in {**ROW, **row}.items()}
    return rewards.solves(completions=list(texts), **columns)


def block(program, language="python"):
    return f"Try this:\n```{language}\n{program}\n```\n"


def test_what_programs_are_paid(monkeypatch):
    with json_server(piston) as (address, seen):
        monkeypatch.setenv("PISTON_ENDPOINTS", f"{address}/api/v2,{address}/api/v2/")
        paid = solves(block("right"), block("half"), block("wrong"), "no program", block("right", "cpp"))
        assert paid == pytest.approx([1.1, 0.05, 0.0, -1.0, -1.0])
        assert solves([{"role": "assistant", "content": block("right") + block("half")}]) == [0.05]
        assert solves(block("broken", "cpp"), language="cpp") == [-0.1]
        assert solves(block("right"), official_tests=[]) == [None]
        path, body, _ = seen[0]
        files = {file["name"]: file["content"] for file in body["files"]}
        assert path == "/api/v2/execute" and body["language"] == "cf_python3" and body["run_timeout"] == 12000
        assert files["checker.py"] == "check" and "TIME_LIMIT=2.0" in files["grader_config"]
        assert seen[-1][1]["language"] == "c++17"


def test_a_server_that_fails_is_an_error_and_no_zero(monkeypatch):
    monkeypatch.setattr(rewards, "TRIES", 2)
    with json_server(lambda path, body: (500, {"message": "down"})) as (address, seen):
        monkeypatch.setenv("PISTON_ENDPOINTS", f"{address}/api/v2")
        with pytest.raises(RuntimeError, match="500"):
            solves(block("right"))
        assert len(seen) == 2
    monkeypatch.delenv("PISTON_ENDPOINTS")
    with pytest.raises(RuntimeError, match="PISTON_ENDPOINTS"):
        solves(block("right"))


def test_the_form_of_an_answer():
    good = "<think>\nhm\n</think>\n<answer>\n```python\nx\n```\n</answer>"
    assert rewards.code_format([good, good, "x"], ["python", "cpp", "python"]) == [1.0, 0.0, 0.0]
