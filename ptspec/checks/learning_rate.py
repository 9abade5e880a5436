"""Warn about learning rates that are likely too low to learn or high enough to diverge."""

from __future__ import annotations

from collections.abc import Iterator

from ptspec.diagnostics import Diagnostic, Severity
from ptspec.model.shape_of import shape_of
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import NoShape
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.plan import Plan, Stage

LOW = 2
"""A rate this many times below the method's lowest usual rate is warned about."""
HIGH = 10
"""A rate this many times above the method's highest usual rate is warned about."""
REAL = 100_000_000
"""Parameters below which models train at rates that diverge on larger ones."""


def check_learning_rates(plan: Plan) -> Iterator[Diagnostic]:
    """Warn about rates far from the method's `rates`, for the optimizers that these apply to."""
    is_real = _is_real(plan)
    for stage in plan.trained:
        settings = EffectiveConfig(stage, stage.compute, gpu=False)
        rate, rates = settings.value("learning_rate"), stage.method.rates
        is_adam = "adamw" in str(settings.value("optim"))
        if rates is None or not is_adam or isinstance(rate, bool) or not isinstance(rate, int | float):
            continue
        lowest, highest = rates.lora if stage.adapter.use_lora else rates.full
        way = "LoRA" if stage.adapter.use_lora else "full fine-tuning"
        usual = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
        hint = f'"learning_rate": {usual} is usual with {way} ({rates.source})'
        learns = f'stage "{stage.name}" learns at {rate:g}{_whose(stage)}'
        place, severity = _place(plan, stage), Severity.WARNING
        if rate < lowest / LOW:
            message = f"{learns}: with {way} it is likely to learn little"
            yield Diagnostic("learning-rate-low", message, None, place, hint, severity=severity)
        elif rate > highest * HIGH and is_real:
            message = f"{learns}: it is likely to diverge"
            yield Diagnostic("learning-rate-high", message, None, place, hint, severity=severity)


def _whose(stage: Stage) -> str:
    if "learning_rate" in stage.config:
        return ""
    return ", TRL's default" + (", which is for full fine-tuning" if stage.adapter.use_lora else "")


def _place(plan: Plan, stage: Stage) -> str:
    given = join(stage.at, "config", "learning_rate")
    return given if at(plan.document, given) is not None else stage.at


def _is_real(plan: Plan) -> bool:
    """Return whether the model is known to have at least `REAL` parameters."""
    try:
        return shape_of(plan.model).parameters >= REAL
    except NoShape:
        return False
