"""The recipe that a run keeps in its manifest, as a plan. Good for its rewards and judges."""

from __future__ import annotations

from pathlib import Path

from ptspec.diagnostics import InputError
from ptspec.recipe.plan import Plan
from ptspec.recipe.resolve import read_recipe
from ptspec.run.manifest import open_manifest


def recorded_plan(run: Path) -> Plan:
    """The plan of the recipe in the manifest of `run`, though its data may be gone. Raises `InputError` where
    what its rewards or judges name is no longer there."""
    manifest = open_manifest(run)
    reading = read_recipe(manifest.recipe_file, (), run, manifest.file)
    faults = [d for d in reading.errors if (d.pointer or "").startswith(("/judges", "/rewards"))]
    if faults or reading.partial is None:
        raise InputError(*(faults or reading.errors))
    return reading.partial
