"""What to change after memory ran out, from the estimate of the stage's need."""

from __future__ import annotations

from dataclasses import replace

from ptspec.accelerator import has_accelerator
from ptspec.diagnostics import Diagnostic
from ptspec.estimate.forecast import forecast
from ptspec.estimate.memory import Memory
from ptspec.recipe.hints import bytes_in_words
from ptspec.recipe.plan import Plan, Stage

SMALLER = 0.7
"""The advised settings should need at most this share of the estimate of the stage's own parts."""


def with_advice(told: Diagnostic, plan: Plan, stage: Stage) -> Diagnostic:
    """Return an out-of-memory diagnostic with the estimated need and advised changes."""
    known = next((one for one in forecast(plan).stages if one.stage.name == stage.name), None)
    if known is None or known.memory is None:
        hint = "a smaller per_device_train_batch_size with more gradient_accumulation_steps"
        return replace(told, hint=hint)
    size = bytes_in_words(known.memory.total)
    figures = f"pt plan says that {stage.name} needs {size}: {_parts(known.memory)}"
    process = known.memory.process
    limit = process + int((known.memory.total - process) * SMALLER)
    again = forecast(plan, device_memory=limit, gpu=has_accelerator())
    advice = next(one.advice for one in again.stages if one.stage.name == stage.name)
    hint = "a smaller model, or a machine with more memory"
    if advice is not None and advice.changes:
        hint = f"set {', '.join(advice.changes)}: it then needs {bytes_in_words(advice.after)}"
    return replace(told, hint=hint, notes=(figures, *told.notes))


def _parts(memory: Memory) -> str:
    parts = sorted(memory.parts, key=lambda part: -part.bytes)
    return ", ".join(f"{part.name} {bytes_in_words(part.bytes)}" for part in parts)
