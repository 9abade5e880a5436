"""What a run and a stage's record say of a stage in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.recipe.adapter_settings import default_of
from ptspec.recipe.plan import AdapterSpec, Stage


def handover_of(stage: Stage) -> str | None:
    """How the stage starts from the one before: "merge"; None where the recipe need not say."""
    return stage.handover.value if stage.handover else None


def reference_of(stage: Stage) -> str | None:
    """The reference policy in words: "sft, frozen"; None for a method without one."""
    return f"{stage.parent}, frozen" if stage.has_reference else None


def describe_adapter(adapter: AdapterSpec, *, trains: bool = True) -> str:
    """The adapter setup in words: "LoRA r16", "QLoRA r16", "LoRA r16 over 8-bit weights", "full
    fine-tuning"; of what trains nothing "full weights"."""
    if not adapter.use_lora:
        return "full fine-tuning" if trains else "full weights"
    rank = adapter.lora.get("r", default_of("r"))
    if adapter.quantization.get("load_in_8bit"):
        return f"LoRA r{rank} over 8-bit weights"
    return f"{'QLoRA' if adapter.use_qlora else 'LoRA'} r{rank}"


def never_measured(stage: Stage, record: Mapping[str, Any]) -> str | None:
    """What to tell of a reused stage, by its `record`, whose `eval_data` came into the recipe afterwards."""
    config = record.get("config")
    before = config.get("eval_strategy", "no") if isinstance(config, Mapping) else "no"
    if stage.eval_data is None or before != "no":
        return None
    return (
        f'it was trained without "eval_data" ({stage.eval_data}), which decides nothing of it: it has no '
        "curve of held-out rows; --fresh trains it again"
    )
