"""Check a stage name given on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.recipe.hints import did_you_mean, listed


def must_be_stage(name: str | None, stages: Sequence[str], option: str) -> None:
    """Raise `InputError` if `option` names no stage of the recipe."""
    if name is not None and name not in stages:
        hint = did_you_mean(name, stages) or f"stages: {listed(stages)}"
        raise InputError(Diagnostic("unknown-stage", f'{option}: there is no stage "{name}"', hint=hint))
