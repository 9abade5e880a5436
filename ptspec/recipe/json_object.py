"""JSON files that other programs wrote: configs of models and adapters, indexes, lists of splits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_object(file: Path) -> Mapping[str, Any]:
    """The object in a JSON file; an empty one where it is missing, damaged, or holds something else."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
