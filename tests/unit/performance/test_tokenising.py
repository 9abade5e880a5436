"""Several processes make rows into tokens where there are many rows."""

from __future__ import annotations

from support.situations import CPU, H100, situation

from ptspec.performance.free.tokenising import FIELD, ROWS_A_PROCESS, choose
from ptspec.recipe.plan import ComputeSpec


def test_as_many_as_the_rows_pay_for():
    (choice,) = choose(situation(machine=H100, rows=3 * ROWS_A_PROCESS))
    assert dict(choice.values) == {FIELD: 3}
    (choice,) = choose(situation(machine=CPU, rows=100 * ROWS_A_PROCESS))
    assert dict(choice.values) == {FIELD: 2}, "there are two processors"


def test_one_process_for_few_rows_or_where_processes_share_the_machine():
    assert choose(situation(machine=H100, rows=ROWS_A_PROCESS)) == ()
    shared = ComputeSpec("accelerate", 16)
    assert choose(situation(machine=H100, rows=10**6, compute=shared)) == ()
    assert choose(situation(machine=H100, rows=10**6, dataset_num_proc=1)) == ()
