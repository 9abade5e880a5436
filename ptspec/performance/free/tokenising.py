"""Rows made into tokens by several processes, where there are enough of them to pay for starting these."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Situation

FIELD = "dataset_num_proc"
ROWS_A_PROCESS = 10_000
"""Rows that one process more needs to pay for itself (`benchmarks/tokenising.py`)."""
MOST = 16


def choose(situation: Situation) -> tuple[Choice, ...]:
    """`dataset_num_proc`; the rows are the same, byte for byte."""
    if not situation.has_field(FIELD) or situation.is_given(FIELD) or situation.rows is None:
        return ()
    cores = situation.machine.cores // max(1, situation.stage.compute.processes)
    processes = min(cores, situation.rows // ROWS_A_PROCESS, MOST)
    if processes < 2 or situation.stage.method.online:
        return ()
    reason = f"{situation.rows:,} rows"
    return (Choice({FIELD: processes}, f"tokenised by {processes} processes", reason),)
