"""Check free disk space before a run starts. Imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Location, StageError
from ptspec.estimate.forecast import StageForecast, forecast, most_written
from ptspec.recipe.hints import bytes_in_words
from ptspec.recipe.plan import Plan, Stage


def check_disk(plan: Plan, stages: Sequence[Stage], *, fresh: bool = False) -> None:
    """Raise `StageError` if the disk lacks the space that `pt plan` computes for the stages.

    `fresh`: finished stages are made again, beside the existing ones.
    """
    free = shutil.disk_usage(plan.output).free
    most = most_written(plan)
    if most is not None and most <= free:
        return  # without counting rows
    needed = _needed(forecast(plan, fresh=fresh).stages, {stage.name for stage in stages})
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


def _needed(stages: Sequence[StageForecast], wanted: set[str]) -> int:
    """Return the peak of additional bytes: a finished stage is kept while the next one trains."""
    kept = most = 0
    for one in stages:
        if one.stage.name in wanted and one.disk is not None and not one.reuse.state.is_finished:
            most, kept = max(most, kept + one.disk.peak), kept + one.disk.kept
    return most
