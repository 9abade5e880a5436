"""Files that ship with the program: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location

RECIPE = "recipe.schema.json"
BASE = "https://ptspec.invalid/schemas/"
"""Base URI of the schemas' relative references; nothing is fetched from it."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """Return the shipped folder called `name` ("schemas", "recipes", "data")."""
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "schemas" / "recipe.schema.json").is_file():
        return checkout / name
    return _PACKAGE / "_shipped" / name


@cache
def schema(name: str) -> dict[str, Any]:
    """Return a shipped schema by its path below `schemas/`.

    Without `$schema`: across a `$ref` it would make jsonschema use its own validator class, whose type
    checker takes 4.0 for an integer.
    """
    loaded: dict[str, Any] = json.loads((folder("schemas") / name).read_text("utf-8"))
    loaded.pop("$schema", None)
    return loaded


def bundle() -> dict[str, Any]:
    """Return the recipe schema as one compound document: each file embedded under its own `$id`."""
    names = sorted(
        path.relative_to(folder("schemas")).as_posix() for path in folder("schemas").rglob("*.json")
    )
    root = dict(schema(RECIPE))
    embedded = {name: {"$id": BASE + name, **schema(name)} for name in names if name != RECIPE}
    return {"$schema": DRAFT, "$id": BASE + RECIPE, **root, "$defs": {**root["$defs"], **embedded}}


def copy(name: str, target: Path) -> None:
    """Copy a shipped folder to `target`. Raises `InputError` if it cannot be written."""
    try:
        shutil.copytree(folder(name), target, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            Diagnostic("not-writable", f"cannot be written: {reason}", Location(str(target)))
        ) from None
