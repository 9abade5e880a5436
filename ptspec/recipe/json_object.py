"""Read JSON files of other programs: configs of models and adapters, indexes, lists of splits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_object(file: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; {} if it is missing, damaged, or not an object."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
