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
"""The address that relative references between schemas count from; nothing is fetched from it."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The shipped folder called `name` ("schemas", "recipes", "data")."""
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "schemas" / "recipe.schema.json").is_file():
        return checkout / name
    return _PACKAGE / "_shipped" / name


@cache
def schema(name: str) -> dict[str, Any]:
    """A shipped schema by its path below `schemas/`.

    Without `$schema`: on meeting one across a `$ref`, jsonschema goes back to its own validator class,
    and with it to a type checker for which 4.0 is an integer.
    """
    loaded: dict[str, Any] = json.loads((folder("schemas") / name).read_text("utf-8"))
    loaded.pop("$schema", None)
    return loaded


def bundle() -> dict[str, Any]:
    """The whole recipe schema as one compound document: each file embedded under its own `$id`."""
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
