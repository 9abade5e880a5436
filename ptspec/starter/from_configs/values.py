"""Values as a schema wants them: YAML 1.1 reads `no` as false and `2e-5` as a text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_schema(value: Any, described: Mapping[str, Any]) -> Any:
    """`value` in the type that `described` (a JSON Schema) names, if it is written otherwise; else itself."""
    types = described.get("type", [])
    types = [types] if isinstance(types, str) else list(types)
    if isinstance(value, bool):
        return "no" if not value and "no" in described.get("enum", ()) else value
    if isinstance(value, float) and "number" not in types and "integer" in types and value.is_integer():
        return int(value)
    if isinstance(value, str) and "string" not in types:
        return _from_text(value, types)
    return value


def _from_text(text: str, types: list[str]) -> Any:
    if "boolean" in types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if "number" in types or "integer" in types:
            number = float(text)
            return int(number) if number.is_integer() and "number" not in types else number
        if "object" in types or "array" in types:
            return json.loads(text)
    except ValueError:
        return text
    return text


def names(value: Any) -> list[str]:
    """The names of a list, or of a text with commas between."""
    found = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return [str(one).strip() for one in found if str(one).strip()]
