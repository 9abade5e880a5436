"""Read and check the recipe stored in a run's manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ptspec.checks.preflight import preflight
from ptspec.recipe.resolve import Reading
from ptspec.store.manifest import Manifest


def read_again(manifest: Manifest, output: Path | None, *, starts: bool = False) -> Reading:
    """Check the recipe of `manifest` at the model commit that the run used.

    The output folder is `output`, else the manifest's folder.
    """
    output = output or manifest.run.absolute()
    reading = preflight(manifest.recipe_file, (), output, manifest.file, starts=starts)
    if reading.plan is None or reading.plan.model.local:
        return reading
    pinned = replace(reading.plan.model, revision=manifest.revision)
    return replace(reading, plan=replace(reading.plan, model=pinned))
