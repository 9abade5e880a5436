"""A job of several processes that memory ran out in: done again with smaller passes."""

from __future__ import annotations

from ptspec.diagnostics import StageError
from ptspec.events import Listener, Warned
from ptspec.launch.job import Launch, StageJob
from ptspec.store.stage_folder import CHECKPOINTS
from ptspec.training.batch_halving import halvings


def with_smaller_passes(job: StageJob, work: Launch, listener: Listener) -> None:
    """Does `job` by `work`, again each time that a worker has written that passes are to be smaller. Raises
    what `work` raises otherwise."""
    checkpoints = job.folder / CHECKPOINTS
    while True:
        before = halvings(checkpoints)
        try:
            return work(job)
        except StageError:
            times = halvings(checkpoints)
            if times == before:
                raise
        text = f"out of memory: the rows a pass are 1/{2**times} from here on, over {2**times} times"
        listener(Warned(f"{text} the passes; a step learns from the same rows", job.stage))
