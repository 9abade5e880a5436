"""Which modules a LoRA adapter goes to, by PEFT's own rules, told from the names in a safetensors header.

PEFT 0.21, `tuners/tuners_utils.py`: `check_target_module_exists`, `_maybe_include_all_linear_layers`;
`utils/other.py`: `get_pattern_key`. A contract test compares the outcome with PEFT's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptspec.recipe.shape import HEADS, ModelShape

ALL_LINEAR = "all-linear"

DEFAULTS: Mapping[str, str | Sequence[str]] = {
    **dict.fromkeys(
        (
            *(
                "llama",
                "llama4",
                "mistral",
                "mixtral",
                "stablelm",
                "opt",
                "gptj",
                "gpt_neo",
                "gemma",
                "gemma2",
            ),
            *("gemma3_text", "qwen2", "qwen3"),
        ),
        ("q_proj", "v_proj"),
    ),
    **dict.fromkeys(("bloom", "gpt_neox", "falcon", "chatglm"), ("query_key_value",)),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), ("c_attn",)),
    **dict.fromkeys(("RefinedWebModel", "RefinedWeb"), ("query_key_value",)),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
    "mpt": ("Wqkv",),
    "btlm": ("c_proj", "c_attn"),
    "codegen": ("qkv_proj",),
    "gemma4": r".*language_model\..*\.(q_proj|v_proj)",
    "nemotron_h": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "rwkv": ("key", "value", "receptance", "output"),
    "rwkv7": ("r_proj", "k_proj", "v_proj", "o_proj", "key", "value"),
}
"""What PEFT takes where `target_modules` is left out, by the type of the model (those that generate text)."""


class UnknownTargets(ValueError):
    """An adapter whose modules cannot be told from names alone, and why."""


def targeted(lora: Mapping[str, Any], shape: ModelShape) -> list[str]:
    """The modules that an adapter with the fields `lora` is put on, in the order of the model's files.

    Raises `UnknownTargets` for what needs the model itself (`target_parameters`), and for a pattern that is
    no regular expression.
    """
    if lora.get("target_parameters"):
        raise UnknownTargets('"target_parameters" are not counted here')
    names = _names(lora.get("target_modules"), shape)
    try:
        return [module for module in known_modules(shape) if _matches(module, names, lora)]
    except re.error as error:
        raise UnknownTargets(f"no regular expression: {error}") from error


def known_modules(shape: ModelShape) -> list[str]:
    """The modules that LoRA can go to: those with a matrix. A tied head has no tensor of its own."""
    return list(shape.matrices)


def unmatched(names: Any, shape: ModelShape) -> list[str]:
    """Those of a list of module names that mean no module of the model."""
    if not isinstance(names, list):
        return []
    modules = {*known_modules(shape), *_all_modules(shape)}
    return [n for n in names if isinstance(n, str) and not any(_ends(module, n) for module in modules)]


def suggestions(shape: ModelShape) -> list[str]:
    """Names a user may mean: the last step of every linear layer."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name in shape.linear))


def rank_of(module: str, lora: Mapping[str, Any]) -> int:
    """r of `module`, `rank_pattern` included."""
    patterns = lora.get("rank_pattern") or {}
    for pattern, rank in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return int(rank)
    return int(lora.get("r", 8))


def saved_whole(lora: Mapping[str, Any], shape: ModelShape) -> list[str]:
    """The modules that `modules_to_save` names, each trained and saved whole: those whose name ends so."""
    wanted = tuple(lora.get("modules_to_save") or ())
    modules = dict.fromkeys([*(name.rpartition(".")[0] for name in shape.tensors), *HEADS[:1]])
    return [module for module in modules if module.endswith(wanted)]


def _names(given: Any, shape: ModelShape) -> Any:
    if given is None:
        kind = str(shape.config.get("model_type", ""))
        if kind not in DEFAULTS:
            raise UnknownTargets(f'PEFT has no "target_modules" of its own for a model of type "{kind}"')
        default = DEFAULTS[kind]
        return default if isinstance(default, str) else list(default)
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
    """Whether the module stands in a layer of `layers_to_transform`."""
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


def _all_modules(shape: ModelShape) -> Iterator[str]:
    """Every module above a tensor, and the head, which a tied model has without a tensor."""
    for name in shape.tensors:
        parts = name.split(".")
        yield from (".".join(parts[:upto]) for upto in range(1, len(parts)))
    yield "lm_head"
