"""The adapter settings of a stage: the recipe's with the stage's overrides."""

from __future__ import annotations

from typing import Any

from ptspec.recipe.adapter_rules import check_adapter
from ptspec.recipe.findings import Findings
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import AdapterSpec

Value = dict[str, Any]

_SWITCHES = ("use_lora", "use_qlora", "quantization")


def adapter_spec(common: Value, own: Value | None, at: str, findings: Findings) -> AdapterSpec:
    """Return the recipe's adapter with the stage's overrides."""
    merged = {**common, **(own or {})}
    where = "/adapter" if own is None else join(at, "adapter")
    use_lora, use_qlora = bool(merged.get("use_lora", False)), bool(merged.get("use_qlora", False))
    if use_qlora and not use_lora:
        place = join(where, "use_qlora") if "use_qlora" in (own if own is not None else common) else where
        message = '"use_qlora" is true but "use_lora" is not: QLoRA is LoRA over a 4-bit base'
        findings.error("contradiction", place, message, 'set "use_lora": true')
    quantization = merged.get("quantization", {})
    if quantization and not use_qlora and "quantization" in (own or common):
        message = '"quantization" is given, and "use_qlora" is not: the weights would stay whole'
        hint = 'set "use_qlora": true (of 8-bit weights too), or leave "quantization" out'
        findings.error("contradiction", join(where, "quantization"), message, hint, key=True)
    lora = {key: value for key, value in merged.items() if key not in _SWITCHES}
    if use_lora:
        mine = own or {}
        check_adapter(
            lora, use_qlora, lambda name: join(where if name in mine else "/adapter", name), findings
        )
    return AdapterSpec(
        use_lora, use_qlora, lora if use_lora else {}, quantization if use_qlora else {}, where
    )
