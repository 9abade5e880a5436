"""TRL's defaults of a method's config, from the generated schemas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ptspec.shipped import schema


@cache
def trl_defaults(method: str) -> Mapping[str, Any]:
    """Return TRL's default of each config field of `method` that has one."""
    fields: Mapping[str, Any] = schema(f"trl/{method}.schema.json")["properties"]
    described = {name: field for name, field in fields.items() if isinstance(field, Mapping)}
    return {name: field["default"] for name, field in described.items() if "default" in field}
