"""The memory that a stage of a plan needs, with its own config or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

from ptspec.data.tokens.template import tokenizer_files
from ptspec.estimate.adapters import Adapter, StageAdapter, read_adapter, stage_adapter, total
from ptspec.estimate.memory import Memory, Work, memory
from ptspec.estimate.rowcount import Counted
from ptspec.estimate.steps import count
from ptspec.model.shape_of import shape_of
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.recipe.shape import ModelShape
from ptspec.store.stage_folder import ADAPTER_CONFIG


def opened_shape(plan: Plan) -> tuple[ModelShape | None, str | None]:
    """Return the shape of the model with embeddings for added tokens; else None and the reason."""
    shape, why = checkpoint_shape(plan)
    if shape is None or not plan.model.additional_special_tokens:
        return shape, why
    tokenizer = tokenizer_files(plan.model)
    return (shape.grown(tokenizer.size) if tokenizer is not None else shape), why


def checkpoint_shape(plan: Plan) -> tuple[ModelShape | None, str | None]:
    """Return the shape of the recipe's model as stored; else None and the reason."""
    try:
        shape = shape_of(plan.model)
        if shape.quantised is None or shape.quantised.is_dequantised:
            return shape, None
        return None, f"parameters and memory of weights quantised by {shape.quantised.method} are not counted"
    except NoShape as error:
        return None, f"parameters and memory are not known: {error}"


def incoming_adapter(stage: Stage, saved: Mapping[str, Adapter | None]) -> Adapter | None:
    """Return the adapter that `stage` starts from: of `saved` or of a folder; None without one.

    Raises `NoShape` for an unreadable folder.
    """
    if stage.parent == BASE or stage.parent in saved:
        return saved.get(stage.parent)
    folder = Path(stage.parent)
    return read_adapter(folder) if (folder / ADAPTER_CONFIG).is_file() else None


def adapter_of(stage: Stage, shape: ModelShape, saved: Mapping[str, Adapter | None]) -> StageAdapter:
    """Return the adapter of `stage` over a base of `shape`; `saved`: those that earlier stages save.

    Raises `UnknownTargets` and `NoShape`.
    """
    if stage.merge is None:
        return stage_adapter(stage, shape, incoming_adapter(stage, saved))
    parts = (incoming_adapter(replace(stage, parent=part.name), saved) for part in stage.merge.parts)
    known = [part for part in parts if part is not None]
    summed = reduce(total, known) if stage.merge.of_adapters and known else None
    return StageAdapter(summed, 0, summed)


def needed_memory(
    plan: Plan,
    settings: EffectiveConfig,
    shape: ModelShape | None,
    adapter: StageAdapter | None,
    counted: Counted,
) -> Memory | None:
    """Return the memory that a stage needs; None if its shape, adapter or lengths are unknown."""
    work = work_of(settings, counted)
    if shape is None or adapter is None or work is None or not (shape.hidden and shape.layers):
        return None
    return memory(settings, plan.model, shape, adapter, work, plan.performance)


def need_of(
    plan: Plan,
    settings: EffectiveConfig,
    shape: ModelShape,
    saved: Mapping[str, Adapter | None],
    counted: Counted,
) -> Callable[[Stage], int]:
    """Return a function from a changed stage to the bytes it needs; 0 if unknown."""

    def need(stage: Stage) -> int:
        changed = replace(settings, stage=stage, compute=stage.compute)
        adapter = adapter_of(stage, shape, saved)
        found = needed_memory(plan, changed, shape, adapter, counted)
        return found.total if found else 0

    return need


def work_of(settings: EffectiveConfig, counted: Counted) -> Work | None:
    """Return the longest sequence of a stage: batches are padded to theirs."""
    longest = counted.longest
    if settings.stage.method.online:
        if longest is None:
            return None
        steps = count(settings, 0)
        return Work(
            longest + settings.number("max_completion_length", 256), steps.generation // settings.processes
        )
    most = settings.number("max_length") or None
    if settings.value("packing") or longest is None:
        return Work(most) if most else None
    return Work(min(longest, most) if most else longest)
