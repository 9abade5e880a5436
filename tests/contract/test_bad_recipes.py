"""Every faulty recipe of tests/bad_recipes gives its expected text, whole.

A case is a folder: recipe.json, what it refers to, args.txt (one --set a line), expected.txt. To add one,
write the recipe, run `python tests/contract/test_bad_recipes.py`, and read what it wrote as its user would.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptspec
from ptspec.cli import main

PACKAGE = Path(ptspec.__file__).parent
CASES = sorted(path for path in (Path(__file__).parent.parent / "bad_recipes").iterdir() if path.is_dir())

# Where each of these functions takes a code.
CODE_ARGUMENT = {
    **dict.fromkeys(("Diagnostic", "error", "warn", "fail", "fault", "_fault", "_refuse", "Fault"), 0),
    "check_known": 2,
}


def told(case: Path) -> tuple[int, str]:
    """Exit code and stderr of `pt validate recipe.json` in the folder of a case."""
    args = case / "args.txt"
    overrides = args.read_text("utf-8").splitlines() if args.is_file() else []
    stderr = io.StringIO()
    before = Path.cwd()
    os.chdir(case)
    try:
        with contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            main(["validate", "recipe.json", *(part for text in overrides for part in ("--set", text))])
    finally:
        os.chdir(before)
    return int(ended.value.code or 0), stderr.getvalue().replace(str(case), "CASE")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_faulty_recipe_gives_its_expected_text(case):
    code, text = told(case)
    assert text == (case / "expected.txt").read_text("utf-8")
    assert code == 2


def codes_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            index = CODE_ARGUMENT.get(name)
            given = [k.value for k in node.keywords if k.arg == "code"] if name in CODE_ARGUMENT else []
            given += node.args[index : index + 1] if index is not None else []
            yield from (
                arg.value for arg in given if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )


def test_each_code_has_a_case():
    files = [
        *(PACKAGE / "recipe").glob("*.py"),
        PACKAGE / "data" / "check.py",
        *(PACKAGE / "run" / f"{name}.py" for name in ("preflight", "model_check", "length_check")),
    ]
    known = {code for file in files for code in codes_of(file)} | {"malformed-row"}
    text = "".join((case / "expected.txt").read_text("utf-8") for case in CASES)
    shown = set(re.findall(r"(?:error|warning)\[([a-z0-9-]+)\]", text))
    assert known - shown == set()
    assert len(known) > 40


if __name__ == "__main__":
    for folder in CASES:
        (folder / "expected.txt").write_text(told(folder)[1], "utf-8")
        print(folder.name)
