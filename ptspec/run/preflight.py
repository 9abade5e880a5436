"""Every fault of a recipe that can be found without loading a model: what `pt validate` tells, and what
stands before every run. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ptspec.data.check import check_plan
from ptspec.diagnostics import Diagnostic, InputError, Severity
from ptspec.recipe.plan import Plan
from ptspec.recipe.resolve import Reading, read_recipe
from ptspec.recipe.text import join
from ptspec.rewards.builtin import option_faults


def preflight(path: Path, overrides: Sequence[str] = (), output: Path | None = None) -> Reading:
    """The recipe read, its rewards and the rows of its data checked; of a faulty one, what is not faulty."""
    reading = read_recipe(path, overrides, output)
    plan = reading.plan or reading.partial
    if plan is None or reading.document is None:
        return reading
    try:
        found = [*check_rewards(plan), *check_plan(plan)]
    except InputError as error:
        found = list(error.diagnostics)
    placed = [
        replace(d, location=reading.document.locate(d.pointer))
        if d.location is None and d.pointer is not None
        else d
        for d in found
    ]
    faulty = any(d.severity is Severity.ERROR for d in placed)
    return replace(
        reading, plan=None if faulty else reading.plan, diagnostics=(*reading.diagnostics, *placed)
    )


def check_rewards(plan: Plan) -> Iterator[Diagnostic]:
    """The built-in functions that the recipe names, and their options; the user's own are not looked at."""
    for reward in plan.rewards.values():
        if reward.function is None or ":" in reward.function:
            continue
        for fault in option_faults(reward.function, reward.options):
            pointer = reward.at if fault.option is None else join(reward.at, fault.option)
            yield Diagnostic("wrong-reward", fault.message, None, pointer, fault.hint)
