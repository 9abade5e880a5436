"""Files that ship with the program: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

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
