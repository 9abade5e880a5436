"""Run a run's `manifest.json` again: the same recipe, and what differs by now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ptspec import __version__
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.plan import Plan
from ptspec.recipe.resolve import read_recipe
from ptspec.store.content_hashes import Hashes
from ptspec.store.files import read_json
from ptspec.store.fingerprint import versions
from ptspec.store.input_hashes import named_files, named_models
from ptspec.store.manifest import MANIFEST, Manifest, environment, open_manifest


def open_run(file: Path) -> Manifest | None:
    """Return the manifest in `file`; None for another file. Raises `InputError` for a damaged one."""
    try:
        value = read_json(file)
    except InputError:
        return None
    if isinstance(value.get("stages"), list):
        return None
    if file.name == MANIFEST:
        return open_manifest(file.parent)
    if {"ptspec", "recipe", "environment"} <= set(value):
        hint = f"it must be called {MANIFEST} and lie in its run's folder"
        where = Location(str(file))
        raise InputError(Diagnostic("not-a-run", "this is a manifest without its run", where, hint=hint))
    return None


def enter(manifest: Manifest) -> Path | None:
    """Change to the folder that the run was started in, for its relative paths.

    Returns None if it does not exist or is the current one.
    """
    try:
        if manifest.working_directory.samefile(Path.cwd()):
            return None
        os.chdir(manifest.working_directory)
    except OSError:
        return None
    return manifest.working_directory


def recorded_plan(run: Path) -> Plan:
    """Return the plan of the recipe in a run's manifest, even if its data is gone.

    Raises `InputError` if what its rewards or judges name is missing.
    """
    manifest = open_manifest(run)
    reading = read_recipe(manifest.recipe_file, (), run, manifest.file)
    faults = [d for d in reading.errors if (d.pointer or "").startswith(("/judges", "/rewards"))]
    if faults or reading.partial is None:
        raise InputError(*(faults or reading.errors))
    return reading.partial


def differences(manifest: Manifest, plan: Plan, device: str) -> list[str]:
    """Return in words what differs from when `manifest` was written: versions, inputs, host, device."""
    return list(_differences(manifest, plan, device))


def _differences(manifest: Manifest, plan: Plan, device: str) -> Iterator[str]:
    before = {**manifest.versions, **manifest.environment}
    for name, value in {"ptspec": __version__, **versions(), **environment(device)}.items():
        if before.get(name) != value:
            yield f"{name} {before.get(name, 'unknown')} → {value}"
    hashes = Hashes(plan)
    if hashes.model() != manifest.model_sha256:
        yield f"model {plan.model.path}: not the same weights, config or tokenizer"
    for name in plan.data:
        if json.loads(json.dumps(hashes.source(name))) != manifest.data.get(name):
            yield f"data {name}: not the same contents"
    yield from _changed("file", named_files(plan, hashes), manifest.files)
    yield from _changed("model", named_models(plan, hashes), manifest.models)


def _changed(kind: str, now: Mapping[str, str], before: Mapping[str, str]) -> Iterator[str]:
    """Both stand in the order of the recipe, under paths that may have moved."""
    for (path, found), kept in zip(now.items(), before.values(), strict=False):
        if found != kept:
            yield f"{kind} {path}: not the same contents"
