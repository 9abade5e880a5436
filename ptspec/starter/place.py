"""Files as a new recipe names them."""

from __future__ import annotations

import os
from pathlib import Path

from ptspec.shipped import folder


def place(path: Path) -> str:
    """`path` as the recipe should name it: relative to the working directory where it lies below that, else
    absolute."""
    absolute, working = Path(os.path.normpath(path.absolute())), Path.cwd()
    return absolute.relative_to(working).as_posix() if absolute.is_relative_to(working) else str(absolute)


def schema_place() -> str:
    """What a recipe's "$schema" says."""
    return place(folder("schemas") / "recipe.schema.json")
