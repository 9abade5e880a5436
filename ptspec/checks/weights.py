"""Refuse start folders whose weights are pickle files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.diagnostics import Diagnostic
from ptspec.recipe.json_pointer import at, split
from ptspec.recipe.plan import BASE, Plan
from ptspec.store.safetensors_only import conversion_command, pickled_weights


def check_weights(plan: Plan) -> Iterator[Diagnostic]:
    """Yield pickled weights in folders outside the run that stages start from."""
    inside = {BASE, *(stage.name for stage in plan.stages)}
    named = ((name, where) for stage in plan.stages for name, where in stage.comes_from)
    for name, where in named:
        if name in inside or (pickle := pickled_weights(Path(name))) is None:
            continue
        given = at(plan.document, where)
        said = given if isinstance(given, str) else split(where)[-1]
        message = f'"{said}" holds its weights as a pickle ({pickle.name}), which can run code when loaded'
        yield Diagnostic("pickled-weights", message, None, where, conversion_command(pickle))
