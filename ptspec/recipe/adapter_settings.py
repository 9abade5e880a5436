"""Compare the settings of two adapters by their meaning to PEFT, not by their spelling.

Reads no weights, and the model's shape only if module names must be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptspec.recipe import targets
from ptspec.recipe.shape import ModelShape
from ptspec.shipped import schema

Lora = Mapping[str, Any]
GetShape = Callable[[], ModelShape | None]

UNORDERED = (
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "layers_to_transform",
    "target_parameters",
    "trainable_token_indices",
)
"""LoraConfig fields with a list whose order PEFT ignores."""

EXPERTS = "target_parameters"
TARGETS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", EXPERTS)
"""Fields that together decide which modules and parameters are adapted."""

_EMPTY_IS_NONE = (*UNORDERED[1:], "layers_pattern", "rank_pattern", "alpha_pattern")


def unlike(incoming: Lora, own: Lora, shape: GetShape) -> list[str]:
    """Return the fields in which `own` differs from `incoming`, in the order of `own`.

    A missing field has PEFT's default.
    """
    names = dict.fromkeys((*own, *incoming))
    found = [name for name in names if _meaning(name, incoming) != _meaning(name, own)]
    placed = [name for name in found if name in TARGETS]
    if placed and _same_modules(incoming, own, shape):
        return [name for name in found if name not in TARGETS]
    return found


def unlike_saved(saved: Lora, own: Lora, shape: GetShape) -> list[str]:
    """Return the fields of `own` that differ from a config that PEFT saved.

    PEFT saves module names for "all-linear", and parameter names of fused experts beside them; if the model's
    shape is unknown, these count as equal.
    """
    if "r" not in saved or saved.get("peft_type", "LORA") != "LORA":
        return ["r"]
    given = {name: saved[name] for name in (*own, *TARGETS) if name in saved}
    left_out = [
        name for name in TARGETS if name in saved and not (name == EXPERTS and "target_modules" in own)
    ]
    mine = {**{name: saved[name] for name in left_out}, **own}
    if str(own.get("target_modules")).lower() == targets.ALL_LINEAR and shape() is None:
        given["target_modules"] = own["target_modules"]
        given.pop(EXPERTS, None)
    return unlike(given, mine, shape)


def _meaning(name: str, lora: Lora) -> Any:
    """Return a field's value normalised so that equal means the same to PEFT."""
    value = lora[name] if name in lora else default_of(name)
    if name in UNORDERED and isinstance(value, dict):
        return {module: frozenset(indices) for module, indices in value.items()} or None
    if name == "layers_to_transform" and isinstance(value, int):
        value = [value]
    if name == "layers_pattern" and isinstance(value, str):
        value = [value] if value else []
    if name in _EMPTY_IS_NONE and not value:
        return None
    return frozenset(value) if name in UNORDERED and isinstance(value, list) else value


def default_of(name: str) -> Any:
    """Return PEFT's default of a LoraConfig field."""
    field = schema("peft/lora.schema.json")["properties"].get(name, {})
    return field.get("default") if isinstance(field, dict) else None


def _same_modules(incoming: Lora, own: Lora, shape: GetShape) -> bool:
    """Return whether both adapt the same modules; False if unknown."""
    model = shape()
    if model is None:
        return False
    try:
        return set(targets.targeted(incoming, model)) == set(targets.targeted(own, model))
    except targets.UnknownTargets:
        return False
