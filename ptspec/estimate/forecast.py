"""Forecast a run of a plan: reused stages and why, rows, steps, tokens, memory, disk.

Reads data, tokenizer files and safetensors headers; loads no model, imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from ptspec.accelerator import has_accelerator
from ptspec.data.tokens.template import tokenizer_files
from ptspec.estimate.adapters import Adapter, StageAdapter
from ptspec.estimate.advice import Advice, advise
from ptspec.estimate.decided import situation_of
from ptspec.estimate.disk import Disk, disk, disk_of_merge
from ptspec.estimate.held import Holder
from ptspec.estimate.host import host_memory
from ptspec.estimate.measured import Measured, measured
from ptspec.estimate.memory import Memory
from ptspec.estimate.needed import adapter_of, checkpoint_shape, need_of, needed_memory, opened_shape
from ptspec.estimate.on_paper import Cluster, OnPaper, on_paper
from ptspec.estimate.rowcount import Counted, RowCounts
from ptspec.estimate.steps import Steps, count
from ptspec.estimate.traffic import Collective, traffic
from ptspec.performance.decide import Decision, decide
from ptspec.performance.machine import CPU, Machine, this_machine
from ptspec.performance.record import read_decision
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.shape import ModelShape, parts_of
from ptspec.recipe.targets import UnknownTargets
from ptspec.store.reuse import Reuse, reuses
from ptspec.store.stage_folder import partial_folder

MANY_STEPS = 10**9
"""More than any stage has."""


@dataclass(frozen=True)
class StageForecast:
    """The forecast of a stage. Unknown values are None; `unknown` gives the reason."""

    stage: Stage
    reuse: Reuse
    counted: Counted | None
    steps: Steps | None
    tokens: int | None
    adapter: StageAdapter | None
    memory: Memory | None
    disk: Disk | None
    advice: Advice | None
    unknown: tuple[str, ...]
    sent: tuple[Collective, ...] = ()
    paper: OnPaper | None = None
    decision: Decision | None = None
    measured: Measured | None = None

    @property
    def as_run(self) -> Stage:
        """The stage with the settings chosen for its device."""
        return self.stage if self.decision is None else self.decision.applied(self.stage)


@dataclass(frozen=True)
class Forecast:
    """The forecast of a plan.

    `gpu`: the estimates are for a GPU; `device_memory`: its bytes if given, for a CPU those of this machine;
    `left_out`: parameters of the checkpoint that are not loaded, by part.
    """

    plan: Plan
    gpu: bool
    device_memory: int | None
    parameters: int | None
    stages: tuple[StageForecast, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    cluster: Cluster | None = None


def forecast(
    plan: Plan,
    *,
    device_memory: int | None = None,
    gpu: bool | None = None,
    fresh: bool = False,
    cluster: Cluster | None = None,
) -> Forecast:
    """Return what `pt run` would do with `plan`.

    `device_memory`, in bytes, assumes a device of that size: a GPU unless `gpu` is False. Without it a CPU
    has the memory of this machine. `cluster`: known devices to plan for.
    """
    if cluster is not None and device_memory is None:
        device_memory = round(cluster.device.memory)
    if gpu is None:
        gpu = device_memory is not None or has_accelerator()
    if device_memory is None and not gpu:
        device_memory = host_memory()
    shape, why = opened_shape(plan)
    counts = RowCounts(plan, tokenizer_files(plan.model))
    reused = reuses(plan, fresh=fresh)
    saved: dict[str, Adapter | None] = {}
    found = []
    for stage in plan.stages:
        if stage.merge is not None:
            found.append(replace(_of_merge(plan, stage, shape, saved), reuse=reused[stage.name]))
            continue
        settings = EffectiveConfig(stage, stage.compute, gpu)
        # The processes of a machine share its memory; each has a GPU of its own.
        each = device_memory if gpu or not device_memory else device_memory // stage.compute.processes
        machine = this_machine("cuda" if gpu else CPU, each)
        one = _stage(plan, settings, shape, counts, saved, machine, cluster)
        if stage.pick is not None:  # its result is needed
            one = _of_pick(stage)
        unknown = (*([why] if why and stage.pick is None else []), *one.unknown)
        found.append(replace(one, reuse=reused[stage.name], unknown=unknown))
    count = shape.parameters if shape else None
    left_out = _left_out(shape) if shape else {}
    return Forecast(plan, gpu, device_memory, count, tuple(found), left_out, cluster)


def parameters(plan: Plan) -> int | None:
    """Return the parameters of the recipe's model, with added tokens; None if unknown before loading."""
    shape = opened_shape(plan)[0]
    return shape.parameters if shape is not None else None


def most_written(plan: Plan) -> int | None:
    """Return an upper bound of the bytes that a run of `plan` writes, without reading its rows.

    Each stage is taken to write every checkpoint that it may keep. None if the model is unknown.
    """
    shape, _ = checkpoint_shape(plan)
    if shape is None:
        return None
    saved: dict[str, Adapter | None] = {}
    total = 0
    for stage in plan.stages:
        try:
            adapter = adapter_of(stage, shape, saved)
        except (UnknownTargets, NoShape):
            return None
        saved[stage.name] = adapter.saved
        if stage.pick is not None:
            continue  # the files of its variant, under a second name
        if stage.merge is not None:
            total += disk_of_merge(plan.model, shape, adapter).peak
            continue
        settings = EffectiveConfig(stage, stage.compute, gpu=False)
        total += disk(settings, plan.model, shape, adapter, MANY_STEPS).peak
    return total


def _left_out(shape: ModelShape) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, tensor in shape.left_out.items():
        (part,) = parts_of([name])
        found[part] = found.get(part, 0) + tensor.elements
    return found


def _stage(
    plan: Plan,
    settings: EffectiveConfig,
    shape: ModelShape | None,
    counts: RowCounts,
    saved: dict[str, Adapter | None],
    machine: Machine,
    cluster: Cluster | None,
) -> StageForecast:
    stage, device_memory = settings.stage, machine.memory
    counted = counts.of(settings)
    decision = read_decision(partial_folder(plan.output, stage.name))
    if decision is None:
        situation = situation_of(plan, settings, machine, shape, counts, counted.rows, saved)
        decision = decide(plan.performance, situation)
    settings = replace(settings, stage=decision.applied(stage))
    steps = count(settings, counted.trained) if counted.trained is not None else _given(settings)
    unknown = [counted.why] if counted.why else []
    adapter: StageAdapter | None = None
    try:
        adapter = adapter_of(stage, shape, saved) if shape is not None else None
        saved[stage.name] = adapter.saved if adapter else None
    except (UnknownTargets, NoShape) as error:
        unknown.append(f"the adapter is not known: {error}")
    needed = needed_memory(plan, settings, shape, adapter, counted)
    advice = None
    if needed is not None and device_memory is not None and shape is not None:
        advice = advise(settings, need_of(plan, settings, shape, saved, counted), device_memory)
    written = None
    if shape is not None and adapter is not None and steps is not None:
        written = disk(settings, plan.model, shape, adapter, steps.total)
    tokens = _tokens(settings, steps, counted)
    sent: tuple[Collective, ...] = ()
    paper = None
    if shape is not None and adapter is not None:
        holder = Holder(settings, plan.model, shape, adapter)
        sent = traffic(holder)
        if cluster is not None and (a_row := _tokens_a_row(settings, counted)) is not None:
            need = partial(needed_memory, plan, shape=shape, adapter=adapter, counted=counted)
            paper = on_paper(holder, cluster, a_row, need)
    if cluster is not None and paper is None:
        unknown.append("the time of a step is not known: it follows from parameters and tokens")
    return StageForecast(
        stage,
        Reuse(),
        counted,
        steps,
        tokens,
        adapter,
        needed,
        written,
        advice,
        tuple(unknown),
        sent,
        paper,
        decision,
        measured(settings, counts, steps),
    )


def _of_pick(stage: Stage) -> StageForecast:
    """Return the forecast of a stage that takes a variant over: it trains nothing."""
    return StageForecast(stage, Reuse(), None, None, None, None, None, None, None, ())


def _of_merge(
    plan: Plan, stage: Stage, shape: ModelShape | None, saved: dict[str, Adapter | None]
) -> StageForecast:
    """Return the forecast of a merge: it trains nothing and writes a file."""
    adapter: StageAdapter | None = None
    unknown: tuple[str, ...] = ()
    try:
        adapter = adapter_of(stage, shape, saved) if shape is not None else None
    except (UnknownTargets, NoShape) as error:
        unknown = (f"the adapter is not known: {error}",)
    saved[stage.name] = adapter.saved if adapter else None
    written = disk_of_merge(plan.model, shape, adapter) if shape is not None and adapter is not None else None
    return StageForecast(stage, Reuse(), None, None, None, adapter, None, written, None, unknown)


def _given(settings: EffectiveConfig) -> Steps | None:
    """Return `max_steps` as the steps if the number of rows is unknown."""
    return count(settings, 0) if settings.number("max_steps", -1) > 0 else None


def _tokens(settings: EffectiveConfig, steps: Steps | None, counted: Counted) -> int | None:
    """Return the tokens of all steps, without padding; of an online method the maximum."""
    if steps is None or counted.tokens_a_row is None:
        return None
    if settings.stage.method.online:
        return round(steps.total * steps.batch * (_tokens_a_row(settings, counted) or 0))
    rows = steps.total * steps.batch if counted.trained is None else steps.epochs * counted.trained
    return round(rows * counted.tokens_a_row)


def _tokens_a_row(settings: EffectiveConfig, counted: Counted) -> float | None:
    """Return the mean tokens per row, both answers of a pair; of an online method the maximum."""
    if counted.tokens_a_row is None or not settings.stage.method.online:
        return counted.tokens_a_row
    return counted.tokens_a_row + settings.number("max_completion_length", 256)
