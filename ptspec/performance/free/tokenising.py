"""Tokenise rows in several processes, if there are enough rows to pay for starting them."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Situation

FIELD = "dataset_num_proc"
ROWS_A_PROCESS = 10_000
"""Minimum rows per process. Measured (`benchmarks/tokenising.py`): TRL prepares an SFT row in 1.25 ms of one
processor, two processes cost 1.7 s more than one; 20,000 rows were faster with two even on a machine with two
busy processors, 10,000 were not."""
MOST = 16


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose `dataset_num_proc`; the rows are the same, byte for byte."""
    if not situation.has_field(FIELD) or situation.is_given(FIELD) or situation.rows is None:
        return ()
    cores = situation.machine.cores // max(1, situation.stage.compute.processes)
    processes = min(cores, situation.rows // ROWS_A_PROCESS, MOST)
    if processes < 2 or situation.stage.method.online:
        return ()
    reason = f"{situation.rows:,} rows"
    return (Choice({FIELD: processes}, f"tokenised by {processes} processes", reason),)
