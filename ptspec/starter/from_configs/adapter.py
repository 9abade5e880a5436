"""What is trained: an adapter, an adapter over quantised weights, or all weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.starter.from_configs.draft import Draft

PEFT: Mapping[str, Any] = {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0}
"""PEFT's defaults, which a recipe's adapter has."""


def carry_adapter(draft: Draft, key: str, *, lora: bool, quantised: bool = True) -> None:
    """Carry that an adapter is trained (`key` says so), and `load_in_4bit`, `load_in_8bit`.

    Without an adapter these, and every `lora_` key, have no effect.
    """
    four, eight = draft.take("load_in_4bit"), draft.take("load_in_8bit")
    if lora:
        draft.carry(key, "/adapter/use_lora", True)
        if four and quantised:
            draft.carry("load_in_4bit", "/adapter/use_qlora", True)
        if eight and quantised:
            draft.carry("load_in_8bit", "/adapter/use_qlora", True)
            draft.write("/adapter/quantization/load_in_8bit", True)
        for name, value in (("load_in_4bit", four), ("load_in_8bit", eight)):
            if value is not None and not value:
                draft.nothing.append(name)
        return
    without = "has no effect without an adapter"
    for name in [one for one in draft.rest if one.startswith("lora_")]:
        draft.leave(name, draft.take(name), without)
    for name, value in (("load_in_4bit", four), ("load_in_8bit", eight)):
        if value is not None:
            draft.leave(name, value, 'quantised weights take an adapter: /adapter, "use_lora": true')
