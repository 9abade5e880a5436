"""Repeat a job of several processes with smaller passes after memory ran out."""

from __future__ import annotations

from ptspec.diagnostics import StageError
from ptspec.events import Listener, Warned
from ptspec.launch.job import Launch, StageJob
from ptspec.store.stage_folder import CHECKPOINTS
from ptspec.training.batch_halving import halved_in_words, halvings


def with_smaller_passes(job: StageJob, work: Launch, listener: Listener) -> None:
    """Run `job` by `work`, again each time that a worker asks for smaller passes.

    Raises what `work` raises otherwise.
    """
    checkpoints = job.folder / CHECKPOINTS
    while True:
        before = halvings(checkpoints)
        try:
            return work(job)
        except StageError:
            times = halvings(checkpoints)
            if times == before:
                raise
        stage = job.plan.stage(job.stage)
        is_measured = stage is not None and stage.eval_data is not None
        listener(Warned(halved_in_words(times, is_measured=is_measured), job.stage))
