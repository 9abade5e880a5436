"""The recipe that a run keeps in its manifest, checked as any other recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ptspec.checks.preflight import preflight
from ptspec.recipe.resolve import Reading
from ptspec.store.manifest import Manifest


def read_again(manifest: Manifest, output: Path | None, *, starts: bool = False) -> Reading:
    """The recipe of `manifest`, checked as any other, over the very commit of its model; to `output`, else to
    the folder that the manifest lies in."""
    output = output or manifest.run.absolute()
    reading = preflight(manifest.recipe_file, (), output, manifest.file, starts=starts)
    if reading.plan is None or reading.plan.model.local:
        return reading
    pinned = replace(reading.plan.model, revision=manifest.revision)
    return replace(reading, plan=replace(reading.plan, model=pinned))
