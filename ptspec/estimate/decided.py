"""Predict what `ptspec.performance` chooses for a stage of a plan, with the arithmetic of `pt plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ptspec.data.tokens.template import tokenizer_files
from ptspec.estimate.adapters import Adapter
from ptspec.estimate.needed import adapter_of, need_of, opened_shape
from ptspec.estimate.rowcount import Counted, RowCounts
from ptspec.performance.choice import Lengths, Situation
from ptspec.performance.decide import Decision, decide
from ptspec.performance.machine import Machine
from ptspec.performance.room import fits
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import Performance, Plan, Stage
from ptspec.recipe.shape import ModelShape
from ptspec.recipe.targets import UnknownTargets


def decision_of(plan: Plan, stage: Stage, machine: Machine, rows: int | None) -> Decision:
    """Return the choices for `stage`, of so many `rows`, on `machine`."""
    if plan.performance is Performance.OFF:
        return Decision(plan.performance, machine.kind)
    settings = EffectiveConfig(stage, stage.compute, gpu=not machine.is_cpu)
    shape, _ = opened_shape(plan)
    counts = RowCounts(plan, tokenizer_files(plan.model))
    saved = _saved(plan, stage, shape)
    situation = situation_of(plan, settings, machine, shape, counts, rows, saved)
    return decide(plan.performance, replace(situation, is_planned=False))


def situation_of(
    plan: Plan,
    settings: EffectiveConfig,
    machine: Machine,
    shape: ModelShape | None,
    counts: RowCounts,
    rows: int | None,
    saved: Mapping[str, Adapter | None],
) -> Situation:
    """Return the situation of a stage.

    `saved`: the adapters that earlier stages save; `counts`: used if the longest row matters.
    """

    def need(stage: Stage) -> int | None:
        if shape is None:
            return None
        try:
            # If the longest possible row fits, rows need not be counted.
            most = need_of(plan, settings, shape, saved, _longest_allowed(settings, shape))(stage)
            if most and fits(most, machine):
                return most
            return need_of(plan, settings, shape, saved, counts.of(settings))(stage) or None
        except (UnknownTargets, NoShape):
            return None

    def measure() -> Lengths | None:
        return counts.lengths(settings)

    return Situation(settings.stage, plan.model, machine, shape, rows, measure, need)


def _longest_allowed(settings: EffectiveConfig, shape: ModelShape) -> Counted:
    longest = shape.context
    if not settings.stage.method.online:
        longest = settings.number("max_length") or longest
    return Counted(longest=longest)


def _saved(plan: Plan, stage: Stage, shape: ModelShape | None) -> dict[str, Adapter | None]:
    """Return the adapters that the stages before `stage` save."""
    saved: dict[str, Adapter | None] = {}
    for one in plan.stages:
        if one.name == stage.name or shape is None:
            break
        try:
            saved[one.name] = adapter_of(one, shape, saved).saved
        except (UnknownTargets, NoShape):
            saved[one.name] = None
    return saved
