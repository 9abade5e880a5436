"""Variants of a matrix that learn the same, and diagnostics that all variants share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from ptspec.accelerator import has_accelerator
from ptspec.diagnostics import Diagnostic
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan, Stage
from ptspec.store.covered_config import covered_config


def check_variants(plan: Plan) -> Iterator[Diagnostic]:
    """Yield axes whose values do not change training: their variants would be trained twice."""
    told: set[str] = set()
    variants = [(stage, _learned(plan, stage)) for stage in plan.stages if stage.variant is not None]
    for (one, learned), (other, also) in combinations(variants, 2):
        if one.variant is None or other.variant is None or one.variant.of != other.variant.of:
            continue
        if learned != also:
            continue
        before, after = one.variant.settings, other.variant.settings
        apart = [axis for axis in after if before.get(axis) != after[axis]]
        where = join(one.at, "matrix", *apart[:1])
        if apart and where not in told:
            told.add(where)
            what = ", ".join(f'"{axis}"' for axis in apart)
            message = f"{one.name} and {other.name} would learn the same: they differ in {what} alone"
            hint = "leave it out of the matrix: one value of it goes to the config"
            yield Diagnostic("variants-alike", message, None, where, hint)


def _learned(plan: Plan, stage: Stage) -> list[Any]:
    """Return what the fingerprints of variants of one stage can differ in."""
    numbers = EffectiveConfig(stage, stage.compute, has_accelerator()).numbers(plan.model.dtype)
    config = covered_config(stage.method, stage.config, stage.compute)
    adapter = [stage.adapter.use_lora, stage.adapter.use_qlora, dict(stage.adapter.lora)]
    return [config, adapter, dict(stage.adapter.quantization), plan.seed_of(stage), numbers]


def once_a_matrix(diagnostics: Sequence[Diagnostic], plan: Plan) -> list[Diagnostic]:
    """Return `diagnostics` with those shared by several variants merged under the stage's name."""
    names = {stage.name: stage.variant.of for stage in plan.stages if stage.variant is not None}
    if not names:
        return list(diagnostics)
    together: dict[tuple[Any, ...], list[Diagnostic]] = {}
    for one in diagnostics:
        message = one.message
        for variant, name in names.items():
            message = message.replace(f'"{variant}"', f'"{name}"')
        together.setdefault((one.code, one.pointer, one.location, message), []).append(one)
    return [
        same[0] if len(same) == 1 else replace(same[0], message=key[-1]) for key, same in together.items()
    ]
