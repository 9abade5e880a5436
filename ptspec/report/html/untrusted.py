"""Values from a run's files as what they should be: what is something else counts as not said."""

from __future__ import annotations

import math
from typing import Any


def text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def number(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def whole(value: Any) -> int | None:
    found = number(value)
    return found if isinstance(found, int) else None
