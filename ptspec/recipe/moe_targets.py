"""LoRA over experts that transformers 5 fuses into one tensor: PEFT's conversion of the settings.

PEFT 0.21, `utils/transformers_weight_conversion.py`: names of expert projections or the router move to
`target_parameters`; a tensor fused of two projections gets the rank of both. The tables are PEFT's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ptspec.architecture.source import table
from ptspec.recipe.shape import ModelShape

Lora = Mapping[str, Any]
Exists = Callable[[str], bool]

_CONVERSION = "utils/transformers_weight_conversion.py"


class CannotConvert(ValueError):
    """Settings that PEFT refuses over fused experts, and why."""


def names_of_experts(model_type: str) -> Mapping[str, str]:
    """Return unfused projection name -> parameter; {} for a model type that PEFT does not convert."""
    tables = table("peft", _CONVERSION, "_MOE_TARGET_MODULE_MAPPING")
    found: Mapping[str, str] = tables.get(_family(model_type), {})
    return found


def rewritten(lora: Lora, shape: ModelShape, linear: Iterable[str], matches: Exists) -> Lora:
    """Return the settings as PEFT applies them; unchanged for a model without fused experts.

    `linear`: the modules of "all-linear"; `matches`: whether `target_modules` as a pattern matches a name.
    Raises `CannotConvert`.
    """
    mapping = names_of_experts(shape.model_type)
    if not mapping or shape.modules is None:
        return lora
    given = lora.get("target_modules")
    if isinstance(given, str):
        is_all = given.lower() == "all-linear"
        given = (
            {_last(name) for name in linear} | set(mapping) if is_all else _matched(shape, mapping, matches)
        )
        if not given:
            return lora
    kept: list[str] = []
    parameters = list(lora.get("target_parameters") or ())
    parts: dict[str, set[str]] = {}
    for name in sorted(given or ()):
        old = next((old for old in mapping if name == old or name.endswith(f".{old}")), None)
        if old is None:
            kept.append(name)
        else:
            parameters.append(mapping[old])
            parts.setdefault(mapping[old], set()).add(old)
    ranks = _fused_ranks(shape, parts, int(lora.get("r", 8)))
    return {
        **lora,
        "target_modules": kept,
        "target_parameters": sorted(set(parameters)),
        "rank_pattern": {**(lora.get("rank_pattern") or {}), **ranks},
    }


def _fused_ranks(shape: ModelShape, parts: Mapping[str, set[str]], rank: int) -> dict[str, int]:
    found = {}
    fused = table("peft", _CONVERSION, "_MOE_FUSED_TARGETS").get(_family(shape.model_type), {})
    for name, wanted in fused.items():
        missing = sorted(set(wanted) - parts.get(name, set()))
        if missing and len(missing) < len(wanted):
            has, lacks = sorted(parts[name])[0], missing[0]
            raise CannotConvert(
                f'"{has}" and "{lacks}" are one tensor in this model, "{name}": name both or none'
            )
        if not missing and len(wanted) > 1:
            found[rf".*\.{re.escape(name)}"] = rank * len(wanted)
    return found


def _matched(shape: ModelShape, mapping: Mapping[str, str], matches: Exists) -> set[str]:
    """Return the last parts of the names that a pattern matches, fused projections included."""
    every = (*shape.all_modules, *shape.tensors)
    found = {_last(name) for name in every if matches(name)}
    for old, new in mapping.items():
        owners = (name.rpartition(".")[0] for name in shape.tensors if _last(name) == new)
        if old not in found and any(matches(f"{owner}.{old}") for owner in owners):
            found.add(old)
    return found


def _family(model_type: str) -> str:
    own = {
        **table("transformers", "conversion_mapping.py", "_MODEL_TO_CONVERSION_PATTERN"),
        "mixtral": "mixtral",
    }
    return str(own.get(model_type, ""))


def _last(name: str) -> str:
    return name.rpartition(".")[2]
