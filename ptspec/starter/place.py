"""Files as a new recipe names them."""

from __future__ import annotations

import os
from pathlib import Path

from ptspec.shipped import folder


def place(path: Path) -> str:
    """Return `path` as the recipe should name it.

    Relative to the working directory if it lies below that, else absolute.
    """
    absolute, working = Path(os.path.normpath(path.absolute())), Path.cwd()
    return absolute.relative_to(working).as_posix() if absolute.is_relative_to(working) else str(absolute)


def schema_key() -> dict[str, str]:
    """Return a recipe's "$schema"; {} if the schema lies outside the working directory.

    An absolute path would be that of this machine's packages, and wrong on another one. `pt schema` writes a
    copy.
    """
    found = Path(place(folder("schemas") / "recipe.schema.json"))
    return {} if found.is_absolute() else {"$schema": found.as_posix()}
