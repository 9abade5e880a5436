"""Check adapter fields that contradict each other: those PEFT 0.21 refuses late or ignores silently.

From `LoraConfig.__post_init__` and the initialisations in `peft/tuners/lora/layer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptspec.recipe.findings import Findings

Lora = Mapping[str, Any]
Place = Callable[[str], str]
"""Adapter field -> its pointer in the recipe."""

WHOLE_WEIGHTS = ("pissa", "mica", "orthogonal")
"""Initialisations that PEFT computes on unquantised weights only."""

FROM_BASE = ("pissa", "olora")
"""Initialisations that move a part of the base's weights into the adapter."""


def takes_from_base(lora: Lora) -> bool:
    """Return whether an adapter's initialisation takes a part out of the base's weights."""
    return _kind(lora) in FROM_BASE


def _kind(lora: Lora) -> str:
    return str(lora.get("init_lora_weights", True)).partition("_niter_")[0]


def check_adapter(lora: Lora, use_qlora: bool, place: Place, findings: Findings) -> None:
    """Report the errors in the LoraConfig fields of one adapter."""
    _layers(lora, place, findings)
    _initialisation(lora, use_qlora, place, findings)
    _variants(lora, place, findings)


def _layers(lora: Lora, place: Place, findings: Findings) -> None:
    is_text = isinstance(lora.get("target_modules"), str)
    for name in ("layers_to_transform", "layers_pattern"):
        if is_text and lora.get(name) is not None:
            message = f'"{name}" goes with a list of modules, and "target_modules" is one string'
            hint = f'"target_modules": ["q_proj", "v_proj", …], or leave "{name}" out'
            findings.error("contradiction", place(name), message, hint)
    if lora.get("layers_pattern") and lora.get("layers_to_transform") is None:
        message = '"layers_pattern" says where the layers of "layers_to_transform" are, which is not given'
        findings.error("contradiction", place("layers_pattern"), message, "give both, or neither")


def _initialisation(lora: Lora, use_qlora: bool, place: Place, findings: Findings) -> None:
    init, kind = lora.get("init_lora_weights", True), _kind(lora)
    where = place("init_lora_weights")
    if init is False:
        message = '"init_lora_weights": false makes an adapter that changes the policy before it is trained'
        findings.error("contradiction", where, message, "leave it out: the default begins at no change")
    if takes_from_base(lora) and lora.get("target_parameters"):
        message = (
            f'"init_lora_weights": "{init}" is computed on linear layers, and "target_parameters" are none'
        )
        findings.error("contradiction", where, message, "keep one")
    if use_qlora and kind in WHOLE_WEIGHTS:
        message = (
            f'"init_lora_weights": "{init}" is computed on whole weights, and "use_qlora" brings 4-bit ones'
        )
        findings.error("contradiction", where, message, '"olora" and true take both')
    if init == "orthogonal" and lora.get("r", 8) % 2:
        message = f'"init_lora_weights": "orthogonal" needs an even "r", not {lora["r"]}'
        findings.error("contradiction", place("r"), message, f"{lora['r'] + 1} would do")


def _variants(lora: Lora, place: Place, findings: Findings) -> None:
    init = lora.get("init_lora_weights", True)
    if lora.get("lora_bias") and not isinstance(init, bool):
        message = f'"lora_bias" cannot go with "init_lora_weights": "{init}"'
        findings.error("contradiction", place("lora_bias"), message, "keep one")
    for name in ("lora_bias", "megatron_config"):
        if lora.get("use_dora") and lora.get(name):
            message = f'"use_dora" and "{name}" cannot go together'
            findings.error("contradiction", place(name), message, "keep one")
