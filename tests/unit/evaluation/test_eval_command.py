"""`pt eval` of stored evaluations: our own words alone, and no library that is not needed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from support.measurements import made

from ptspec.evaluation import store
from ptspec.evaluation.aggregates import aggregates

PROGRAM = """
import sys
from ptspec.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
heavy = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")
assert not [name for name in heavy if name in sys.modules]
"""


@pytest.fixture
def stored(tmp_path):
    """Two models with evaluations of their own; b says something else to a third of the prompts."""
    for name, right in (("a", 20), ("b", 40)):
        one = made(name, [i < right for i in range(60)], [9] * 60)
        rows = tuple(
            replace(row, response="yes" if i < right else "no", expected="yes")
            for i, row in enumerate(one.rows)
        )
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        store.write(folder, replace(one, rows=rows, metrics=aggregates(rows, seed=1)), samples=2)
    return tmp_path


def pt(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "eval", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "first-hour 14: 'Failed to load CPU gemm_4bit_forward from kernels-community'"
    return done.stdout


def test_compare_says_its_own_words_alone_and_what_to_look_at_next(stored):
    lines = pt(stored, "--compare", "./a", "./b").splitlines()
    assert lines[0].startswith("b vs a · 60 prompts")
    assert "20 of 60 answers differ." in lines[-2]
    assert lines[-1] == "next     pt eval --compare ./a ./b --show 5"


def test_show_shows_what_differs(stored):
    told = pt(stored, "--compare", "./a", "./b", "--show", "2")
    assert "answers that differ, biggest changes in accuracy first, a → b" in told
    assert told.count("   a          no") == told.count("   b          yes") == 2


def test_key_figures_and_with_all_every_metric(stored):
    brief, whole = pt(stored, "./b"), pt(stored, "./b", "--all")
    assert brief.startswith("b   accuracy 66.7")
    assert "distinct-1" in whole and "[" in whole and "distinct-1" not in brief
