"""The performance choices in a plan: applied ones with reasons, and proposed ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ptspec.estimate.forecast import Forecast, StageForecast
from ptspec.performance.choice import Choice, Effect
from ptspec.performance.decide import Decision
from ptspec.performance.record import as_json, choice_json
from ptspec.recipe.plan import Performance


def performance_lines(forecast: Forecast) -> Iterator[str]:
    """Yield "performance of sft: 1 row a pass × 8 (why) · …", then the proposed choices."""
    if forecast.plan.performance is Performance.OFF:
        yield "performance: off, TRL's settings"
    known = [(one.stage.name, one.decision) for one in forecast.stages if _is_told(one) and one.decision]
    for name, decision in known:
        if decision.told:
            yield f"performance of {name}: {' · '.join(map(_told, decision.told))}"
    for name, decision in known:
        if decision.proposed:
            words = "; ".join(choice.words for choice in decision.proposed)
            yield f"{name} would be faster, but changes what is learned: {words}"


def _is_told(one: StageForecast) -> bool:
    return not one.reuse.state.is_finished


def _told(choice: Choice) -> str:
    return f"not {choice.words}" if choice.effect is Effect.LEFT else choice.words


def performance_json(one: StageForecast) -> dict[str, Any] | None:
    """Return the choices with fields, reasons and gains; None for a reused stage."""
    decision: Decision | None = one.decision
    if decision is None or not _is_told(one):
        return None
    others = [choice_json(choice) for choice in decision.choices if choice.effect is not Effect.FREE]
    return {**as_json(decision), "not_taken": others}
