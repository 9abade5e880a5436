"""Whether there is room: on the disk before a run starts, in memory after it ran out. Loads no torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Location, StageError
from ptspec.recipe.estimate.memory import Memory
from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.shape import read_shape
from ptspec.recipe.sizes import bytes_in_words
from ptspec.run.forecast import StageForecast, forecast
from ptspec.run.machine_check import has_accelerator
from ptspec.run.reuse import Truncation

PLENTY = 100
"""Bytes a parameter and stage: float32 weights, optimizer and reference in three checkpoints take 60."""
SMALLER = 0.7
"""What is advised after memory ran out should need at most this share of what it was estimated to need."""


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
        if one.stage.name in wanted and one.disk is not None and one.reuse.fate is not Truncation.REUSED:
            most, kept = max(most, kept + one.disk.peak), kept + one.disk.kept
    return most


def with_advice(told: Diagnostic, plan: Plan, stage: Stage) -> Diagnostic:
    """`told` of memory that ran out, with what `pt plan` says the stage needs, and what to change."""
    known = next((one for one in forecast(plan).stages if one.stage.name == stage.name), None)
    if known is None or known.memory is None:
        hint = "a smaller per_device_train_batch_size with more gradient_accumulation_steps"
        return replace(told, hint=hint)
    size = bytes_in_words(known.memory.total)
    figures = f"pt plan says that {stage.name} needs {size}: {_parts(known.memory)}"
    limit = int(known.memory.total * SMALLER)
    again = forecast(plan, device_memory=limit, gpu=has_accelerator())
    advice = next(one.advice for one in again.stages if one.stage.name == stage.name)
    hint = "a smaller model, or a machine with more memory"
    if advice is not None and advice.changes:
        hint = f"set {', '.join(advice.changes)}: it then needs {bytes_in_words(advice.after)}"
    return replace(told, hint=hint, notes=(figures, *told.notes))


def _parts(memory: Memory) -> str:
    parts = sorted((*memory.held, *memory.training, *memory.sampling), key=lambda part: -part.bytes)
    return ", ".join(f"{part.name} {bytes_in_words(part.bytes)}" for part in parts if part.bytes)
