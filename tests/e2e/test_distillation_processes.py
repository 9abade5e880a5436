"""Students in two processes, each with the whole teacher: what one process learns, its draws go by row.

By DeepSpeed: test_deepspeed.py."""

from __future__ import annotations

import pytest
from support.sharded_run import sharded
from support.small import run_here, two_ranks
from support.students import assert_taught_alike, recipe_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """By one process."""
    folder = tmp_path_factory.mktemp("one")
    ran = run_here(recipe_in(folder / "one"), folder / "out")
    assert ran.error is None, ran.error.diagnostics
    return ran.output


def test_two_processes_are_taught_what_one_is(tmp_path, alone):
    first, second = two_ranks("run", recipe_in(tmp_path / "two"), "--output", tmp_path / "out")
    assert (first.wait(400), second.wait(60)) == (0, 0), first.told
    assert_taught_alike(alone, tmp_path / "out")


def test_two_processes_that_share_the_students_weights_are_taught_what_one_is(tmp_path, alone):
    compute = {"launcher": "accelerate", "processes": 2, "strategy": "fsdp"}
    code, told = sharded(recipe_in(tmp_path / "two", compute), tmp_path / "out")
    assert code == 0, told
    assert_taught_alike(alone, tmp_path / "out")
