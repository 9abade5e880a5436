"""Typed reads of untrusted JSON: None on a type mismatch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def text(value: Any) -> str | None:
    """Return a string, else None."""
    return value if isinstance(value, str) else None


def number(value: Any) -> float | None:
    """Return a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def object_of(value: Any) -> Json:
    """Return an object, {} for another value."""
    return value if isinstance(value, dict) else {}


def objects_of(value: Any) -> list[Json]:
    """Return the objects of a list, [] for another value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def whole(value: Any) -> int | None:
    """Return an integer, else None."""
    found = number(value)
    return found if isinstance(found, int) else None
