"""Evaluate the checks of a recipe on measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptspec.diagnostics import CheckError, Diagnostic, Location
from ptspec.evaluation.checks import Outcome, outcome
from ptspec.evaluation.measurement import Measurement
from ptspec.events import CheckEvaluated, Listener
from ptspec.recipe.plan import CheckSpec, OnFail, Plan, Stage


def ask(
    plan: Plan,
    stage: Stage,
    checks: Sequence[CheckSpec],
    measured: Mapping[str, Measurement],
    listener: Listener,
    *,
    ignored: bool,
    unbegun: Sequence[str],
) -> list[Outcome]:
    """Return the result of each of `checks` for `stage`.

    Raises `CheckError` after all results were emitted, if one that stops the run failed and is not `ignored`.
    `unbegun`: stages that have not started.
    """
    outcomes, failed = [], []
    for check in checks:
        result = outcome(check, stage.name, stage.parent, measured)
        outcomes.append(result)
        on_fail = OnFail.WARN if ignored else check.on_fail
        place = None if check in plan.checks else stage.name
        listener(CheckEvaluated(place, result.reason, result.held, on_fail.value, result.bounds))
        if not result.held and on_fail is OnFail.STOP:
            failed.append(_failed(plan, stage, result, unbegun))
    if failed:
        raise CheckError(*failed)
    return outcomes


def _failed(plan: Plan, stage: Stage, result: Outcome, unbegun: Sequence[str]) -> Diagnostic:
    skipped = f"not started: {', '.join(unbegun)}" if unbegun else "it was the last stage"
    return Diagnostic(
        "check-failed",
        f'stage "{stage.name}": the check on {result.check.metric} failed'
        + (f": {result.reason}" if result.reason else ""),
        Location(str(plan.recipe)),
        result.check.at,
        notes=(f"{stage.name} is kept in {plan.output / stage.name}; {skipped}",),
    )
