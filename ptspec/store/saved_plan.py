"""A plan saved by `pt plan -o plan.json`, which `pt run plan.json` runs exactly or refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec import __version__
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.plan import Plan
from ptspec.store.files import read_json, write_json
from ptspec.store.fingerprint import changes
from ptspec.store.manifest import now
from ptspec.store.reuse import Reuse, reuses

FORMAT = 1
KIND = "ptspec plan"


@dataclass(frozen=True)
class PlanFile:
    """A saved plan.

    `recipe_file`, `overrides`, `output`: the command line; `document`: the resolved recipe; `stages`: what
    each stage's fingerprint covers.
    """

    file: Path
    recipe_file: Path
    overrides: tuple[str, ...]
    output: Path
    document: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, Any]]


def keep(plan: Plan, found: Mapping[str, Reuse], overrides: Sequence[str], file: Path) -> None:
    """Write `plan` and the reuse of its stages to `file`, replacing only an older plan.

    Raises `InputError` if it cannot be written.
    """
    if file.exists() and open_plan(file) is None:
        hint = "choose another name: -o FILE"
        raise InputError(
            Diagnostic("file-exists", "exists and is not a plan", Location(str(file)), hint=hint)
        )
    try:
        write_json(
            file,
            {
                "kind": KIND,
                "format": FORMAT,
                "ptspec": __version__,
                "written": now(),
                "recipe_file": str(plan.recipe),
                "overrides": list(overrides),
                "output": str(plan.output),
                "recipe": plan.document,
                "stages": {name: dict(reuse.covered) for name, reuse in found.items()},
            },
        )
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise InputError(Diagnostic("not-writable", message, Location(str(file)))) from None


def open_plan(file: Path) -> PlanFile | None:
    """Return the plan in `file`; None for another file. Raises `InputError` for a damaged one."""
    try:
        value = read_json(file)
    except InputError:
        return None
    if value.get("kind") != KIND:
        return None
    try:
        overrides, stages = value["overrides"], value["stages"]
        return PlanFile(
            file,
            Path(value["recipe_file"]),
            tuple(map(str, overrides)),
            Path(value["output"]),
            dict(value["recipe"]),
            {str(name): dict(covered) for name, covered in stages.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        hint = "make it anew: pt plan RECIPE -o FILE"
        where = Location(str(file))
        raise InputError(Diagnostic("damaged-file", "this plan lacks parts", where, hint=hint)) from None


def must_be_unchanged(kept: PlanFile, plan: Plan) -> None:
    """Raise `InputError` with what has changed since `kept` was written, if anything."""
    found = list(_changes(kept, plan))
    if found:
        message = "what this plan was made of has changed since"
        hint = f"look at it again, pt plan {kept.recipe_file}, and run the recipe or keep the new plan"
        where = Location(str(kept.file))
        raise InputError(Diagnostic("plan-outdated", message, where, hint=hint, notes=tuple(found)))


def _changes(kept: PlanFile, plan: Plan) -> list[str]:
    current = {name: _as_read(reuse.covered) for name, reuse in reuses(plan).items()}
    found = [f"{name}: no longer in the recipe" for name in kept.stages if name not in current]
    for name, covered in current.items():
        if name not in kept.stages:
            found.append(f"{name}: not in the plan")
        elif words := changes(kept.stages[name], covered):
            found.append(f"{name}: {', '.join(words)}")
    if not found:
        document = _as_read(plan.document)
        keys = sorted({*document, *kept.document} - {"$schema", "$comment", "description"})
        found += [f"{key}: changed" for key in keys if document.get(key) != kept.document.get(key)]
    return found


def _as_read(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value as read from JSON: tuples become lists."""
    read: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return read
