"""The modules and parameters that a LoRA adapter adapts, by PEFT's rules, from checkpoint names.

PEFT 0.21, `tuners/tuners_utils.py`: `check_target_module_exists`, `_maybe_include_all_linear_layers`,
`_inject_parameters`; `utils/other.py`: `get_pattern_key`. Contract tests compare the result with PEFT's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec.architecture.modules import Kind, Modules
from ptspec.architecture.source import table
from ptspec.recipe.moe_targets import CannotConvert, names_of_experts, rewritten
from ptspec.recipe.shape import HEADS, ModelShape

ALL_LINEAR = "all-linear"


class UnknownTargets(ValueError):
    """An adapter whose modules cannot be determined, and why."""


@dataclass(frozen=True)
class Targets:
    """What an adapter adapts.

    `modules`: name -> r; `parameters`: tensors wrapped themselves, such as fused experts: name -> r.
    """

    modules: Mapping[str, int]
    parameters: Mapping[str, int]


def defaults() -> Mapping[str, str | Sequence[str]]:
    """Return PEFT's default `target_modules` by model type."""
    return table("peft", "utils/constants.py", "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING")


def resolve(lora: Mapping[str, Any], shape: ModelShape) -> Targets:
    """Return the modules and parameters that an adapter with the fields `lora` adapts.

    Raises `UnknownTargets` if PEFT has no default for the model, would refuse the settings, or a pattern is
    not a regular expression.
    """
    try:
        lora = _applied(lora, shape)
        names = _names(lora, shape)
        modules = {m: _rank(m, lora) for m in known_modules(shape) if _matches(m, names, lora)}
        wanted = lora.get("target_parameters") or ()
        found = [name for name in shape.tensors if any(_ends(name, one) for one in wanted)]
        return Targets(modules, {name: _rank(name, lora) for name in found})
    except re.error as error:
        raise UnknownTargets(f"no regular expression: {error}") from error


def targeted(lora: Mapping[str, Any], shape: ModelShape) -> list[str]:
    """Return the adapted modules and parameters, in the order of the model's files.

    Raises `UnknownTargets`.
    """
    found = resolve(lora, shape)
    return [*found.modules, *found.parameters]


def known_modules(shape: ModelShape) -> list[str]:
    """Return the modules that LoRA can adapt: those with a matrix. A tied head has no own tensor."""
    return list(shape.matrices)


def not_adaptable(lora: Mapping[str, Any], shape: ModelShape) -> list[str]:
    """Return matched modules that PEFT cannot adapt: blocks, custom layers. Raises `UnknownTargets`."""
    if shape.modules is None:
        return []
    others = [name for name in meant(lora, shape) if shape.modules.kind(name) is Kind.OTHER]
    return [name for name in others if name not in HEADS and not _is_convolution(name, shape.modules)]


def beyond_linear(lora: Mapping[str, Any], shape: ModelShape) -> str | None:
    """Return the first adapted part that is not a linear layer (an embedding, expert tensors), or None.

    Raises `UnknownTargets`.
    """
    found = resolve(lora, shape)
    embeddings = [name for name in found.modules if is_embedding(name, shape)]
    parameters = sorted(found.parameters, key=lambda name: -len(shape.tensors[name].shape))  # experts first
    return next(iter([*embeddings, *parameters]), None)


def is_embedding(module: str, shape: ModelShape) -> bool:
    """Return whether a module is an embedding; False if modules are unknown."""
    return shape.modules is not None and shape.modules.kind(module) is Kind.EMBEDDING


def meant(lora: Mapping[str, Any], shape: ModelShape) -> list[str]:
    """Return every module whose name the settings match, of any kind. Raises `UnknownTargets`."""
    lora = _applied(lora, shape)
    names = _names(lora, shape)
    return [name for name in shape.all_modules if _matches(name, names, lora)]


def unmatched(names: Any, shape: ModelShape) -> list[str]:
    """Return those of a list of module names that match no module of the model."""
    if not isinstance(names, list):
        return []
    experts = names_of_experts(shape.model_type) if shape.modules is not None else {}
    return [
        name
        for name in names
        if isinstance(name, str)
        and name.rpartition(".")[2] not in experts
        and not any(_ends(module, name) for module in shape.all_modules)
    ]


def suggestions(shape: ModelShape) -> list[str]:
    """Return likely intended names: the last part of every linear layer's name."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in shape.linear))


def saved_whole(lora: Mapping[str, Any], shape: ModelShape) -> list[str]:
    """Return the modules of `modules_to_save`, trained and saved whole: those with such a suffix."""
    wanted = tuple(lora.get("modules_to_save") or ())
    modules = dict.fromkeys([*(name.rpartition(".")[0] for name in shape.tensors), *HEADS[:1]])
    return [module for module in modules if module.endswith(wanted)]


def _applied(lora: Mapping[str, Any], shape: ModelShape) -> Mapping[str, Any]:
    """Return the settings after PEFT's conversion for fused experts. Raises `UnknownTargets`."""
    given = lora.get("target_modules")
    try:
        return rewritten(lora, shape, shape.linear, lambda name: _matches(name, given, lora))
    except CannotConvert as error:
        raise UnknownTargets(str(error)) from error


def _is_convolution(name: str, modules: Modules) -> bool:
    return modules.class_name(name) in ("Conv1d", "Conv2d", "Conv3d", "MultiheadAttention")


def _rank(name: str, lora: Mapping[str, Any]) -> int:
    """Return r of a module or parameter, with `rank_pattern`."""
    patterns = lora.get("rank_pattern") or {}
    for pattern, rank in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return int(rank)
    return int(lora.get("r", 8))


def _names(lora: Mapping[str, Any], shape: ModelShape) -> Any:
    given = lora.get("target_modules")
    if given is None and lora.get("target_parameters"):
        return []
    if given is None or (given == [] and not lora.get("target_parameters")):
        # PEFT rewrites settings for fused experts before it looks for a default, and then finds none.
        default = None if names_of_experts(shape.model_type) else defaults().get(shape.model_type)
        if default is None:
            kind = shape.model_type
            raise UnknownTargets(f'PEFT has no "target_modules" of its own for a model of type "{kind}"')
        return default
    if isinstance(given, str) and given.lower() == ALL_LINEAR:
        return list(shape.linear)
    return given


def _matches(module: str, names: Any, lora: Mapping[str, Any]) -> bool:
    if _excluded(module, lora):
        return False
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    if module in names:
        return True
    return any(module.endswith(f".{name}") for name in names) and _in_layers(module, lora)


def _excluded(module: str, lora: Mapping[str, Any]) -> bool:
    excluded = lora.get("exclude_modules")
    if isinstance(excluded, str) and re.fullmatch(excluded, module):
        return True
    if isinstance(excluded, list) and any(_ends(module, name) for name in excluded):
        return True
    return any(re.match(rf"(^|.*\.){name}($|\..*)", module) for name in lora.get("modules_to_save") or ())


def _in_layers(module: str, lora: Mapping[str, Any]) -> bool:
    """Return whether the module is in a layer of `layers_to_transform`."""
    wanted, patterns = lora.get("layers_to_transform"), lora.get("layers_pattern") or []
    if wanted is None or wanted == []:
        return True
    steps = [patterns] if isinstance(patterns, str) else patterns
    expressions = [rf"(?:^|.*?\.){step}\.(?P<idx>\d+)\." for step in steps] or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
    found = next(filter(None, (re.match(expression, module) for expression in expressions)), None)
    index = int(found["idx"]) if found else None
    return index == wanted if isinstance(wanted, int) else index in wanted


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")
