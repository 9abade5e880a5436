"""Rows made into tokens by several processes, where there are enough of them to pay for starting these."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Situation

FIELD = "dataset_num_proc"
ROWS_A_PROCESS = 10_000
"""Rows that each process must have. Measured (`benchmarks/tokenising.py`): TRL prepares a row of SFT in
1.25 ms of a processor, two processes cost 1.7 s more than one; 20,000 rows were ready sooner with two even on
a machine whose two processors were busy, 10,000 were not."""
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
