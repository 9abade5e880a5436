"""Whether there is room on the disk, before a run starts. Loads no torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Location, StageError
from ptspec.estimate.forecast import StageForecast, forecast
from ptspec.recipe.headers import NoShape
from ptspec.recipe.hints import bytes_in_words
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.shape import read_shape
from ptspec.store.reuse import ReuseState

PLENTY = 100
"""Bytes a parameter and stage: float32 weights, optimizer and reference in three checkpoints take 60."""


def check_disk(plan: Plan, stages: Sequence[Stage]) -> None:
    """Raises `StageError` where the disk has not the room that `pt plan` says the stages take."""
    free = shutil.disk_usage(plan.output).free
    if free > PLENTY * len(stages) * _parameters(plan):
        return
    needed = _needed(forecast(plan).stages, {stage.name for stage in stages})
    if needed > free:
        raise StageError(
            Diagnostic(
                "disk-full",
                f"the run writes up to {bytes_in_words(needed)} into {shown(plan.output)}, where "
                f"{bytes_in_words(free)} are free",
                Location(str(plan.recipe)),
                hint="make room, lower save_total_limit, or give the run a folder elsewhere: --output DIR",
                notes=("nothing was started",),
            )
        )


def _parameters(plan: Plan) -> float:
    try:
        return read_shape(Path(plan.model.path)).parameters if plan.model.local else float("inf")
    except NoShape:
        return float("inf")


def _needed(stages: Sequence[StageForecast], wanted: set[str]) -> int:
    """The most bytes at once that are not there yet: what is done is kept while the next stage trains."""
    kept = most = 0
    for one in stages:
        if one.stage.name in wanted and one.disk is not None and one.reuse.state is not ReuseState.REUSED:
            most, kept = max(most, kept + one.disk.peak), kept + one.disk.kept
    return most
