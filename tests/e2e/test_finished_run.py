"""A run that has everything finished, or has it done by others, imports none of what trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.small import ROOT, environment, run_here

from ptspec.performance.threads import COUNT, POLICY, SPINS

TRAINS = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
ASKS = f"print('LOADED', *(name for name in {TRAINS!r} if name in sys.modules))\n"


def python(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", "import sys\n" + program + ASKS, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_what_is_finished_is_reported_without_them(small_run):
    program = (
        "from ptspec.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
    )
    assert python(program, "run", small_run.recipe, "--output", small_run.output) == "LOADED"


def test_who_has_workers_do_the_work_needs_none_of_them():
    assert python("import ptspec.run.session, ptspec.launch.accelerate, ptspec.launch.local\n") == "LOADED"


@pytest.mark.parametrize(("performance", "spins"), [("auto", str(COUNT)), ("off", None)])
def test_how_threads_wait_is_chosen_with_everything_else(performance, spins, small_run, monkeypatch):
    for name in (SPINS, POLICY):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    recipe = json.loads(small_run.recipe.read_text())
    file = small_run.recipe.with_name(f"{performance}.json")
    file.write_text(json.dumps({**recipe, "performance": performance}))
    assert run_here(file, small_run.output).error is None
    assert os.environ.get(SPINS) == spins
