"""Every faulty recipe of tests/bad_recipes gives its expected text, whole.

A case is a folder: recipe.json, what it refers to, args.txt (one --set a line), expected.txt. To add one,
write the recipe, run `pytest tests/contract/test_bad_recipes.py --update`, and read what it wrote as its user
would.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import ptspec
from ptspec import accelerator
from ptspec.cli import main

PACKAGE = Path(ptspec.__file__).parent
ROOT = Path(__file__).parent.parent.parent
# Where a package is installed, what is told of one that is not is the same.
NO_EXTRAS = mock.patch("ptspec.checks.machine._has", return_value=False)
CASES = sorted(path for path in (ROOT / "tests" / "bad_recipes").iterdir() if path.is_dir())
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}

# Codes that stand in what `pt validate` loads, but that no recipe brings about there: where they are tested.
ELSEWHERE = {
    **dict.fromkeys(
        ("hub-unreachable", "no-access", "no-such-revision", "not-on-hub", "unknown-config"),
        "tests/unit/hub/test_hub_check.py",
    ),
    "code-not-allowed": "tests/unit/rewards/test_rewards_user.py",
    "damaged-file": "tests/e2e/test_verify.py",
    "learning-rate-high": "tests/unit/checks/test_learning_rate.py",
    "missing-file": "tests/unit/starter/test_starter_recipe.py",
    "failing-import": "tests/unit/rewards/test_rewards_user.py",
    "mixed-types": "tests/unit/data/test_exact_json.py",
    "no-such-dataset": "tests/unit/data/test_hub_reader.py",
    "other-vocabulary": "tests/unit/checks/test_teacher.py",
    "not-writable": "tests/unit/test_cli.py",
    "pickled-weights": "tests/unit/store/test_safetensors_only.py",
    "unreadable-dataset": "tests/unit/data/test_hub_reader.py",
    "wrong-judgement": "tests/unit/rewards/test_rewards_checked.py",
}

# Where each of these functions takes a code.
CODE_ARGUMENT = {
    **dict.fromkeys(
        ("Diagnostic", "error", "warn", "fail", "fault", "_fault", "_refuse", "Fault", "Wrong"), 0
    ),
    "LayoutError": 0,
    "check_known": 2,
}


def told(case: Path) -> tuple[int, str]:
    """Exit code and stderr of `pt validate recipe.json` in the folder of a case."""
    args = case / "args.txt"
    overrides = args.read_text("utf-8").splitlines() if args.is_file() else []
    stderr = io.StringIO()
    before = Path.cwd()
    os.chdir(case)
    no_gpu_no_hub = mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1")
    no_run_before = mock.patch.object(accelerator, "_kept", None)
    try:
        with (
            no_gpu_no_hub,
            no_run_before,
            NO_EXTRAS,
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as ended,
        ):
            main(["validate", "recipe.json", *(part for text in overrides for part in ("--set", text))])
    finally:
        os.chdir(before)
    return int(ended.value.code or 0), stderr.getvalue().replace(str(case), "CASE")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_faulty_recipe_gives_its_expected_text(case, expected):
    code, text = told(case)
    assert text == expected(case / "expected.txt", text)
    assert code == 2


def strings(node: ast.AST) -> Iterator[str]:
    """The string that `node` is, or each of those that a condition chooses between."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*strings(node.body), *strings(node.orelse))


def codes_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            index = CODE_ARGUMENT.get(name)
            given = [k.value for k in node.keywords if k.arg == "code"] if name in CODE_ARGUMENT else []
            given += node.args[index : index + 1] if index is not None else []
            yield from (code for arg in given for code in strings(arg))


def reached(module: str) -> set[str]:
    """The modules of ours that importing `module` loads, now or later."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name in found or name not in MODULES:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def test_each_code_that_validate_can_tell_has_a_case():
    told_by = {code: name for name in reached("ptspec.checks.preflight") for code in codes_of(MODULES[name])}
    text = "".join((case / "expected.txt").read_text("utf-8") for case in CASES)
    shown = set(re.findall(r"(?:error|warning)\[([a-z0-9-]+)\]", text))
    assert told_by.keys() - shown - ELSEWHERE.keys() == set()
    assert shown - told_by.keys() == set(), "a code that the source does not spell out"
    assert ELSEWHERE.keys() & shown == set(), "it has a case: strike it from the list"
    assert len(shown) > 60


@pytest.mark.parametrize("code", ELSEWHERE)
def test_a_code_without_a_case_is_tested_elsewhere(code):
    assert code in (ROOT / ELSEWHERE[code]).read_text("utf-8")
