"""Short descriptions of a stage for screens and records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.recipe.adapter_settings import default_of
from ptspec.recipe.plan import AdapterSpec, Stage


def handover_of(stage: Stage) -> str | None:
    """Return how the stage starts from its parent: "merge"; None if the recipe need not say."""
    return stage.handover.value if stage.handover else None


def reference_of(stage: Stage) -> str | None:
    """Return the reference policy in words: "sft, frozen"; None for a method without one."""
    return f"{stage.parent}, frozen" if stage.has_reference else None


def describe_adapter(adapter: AdapterSpec, *, trains: bool = True) -> str:
    """Return the adapter setup in words ("LoRA r16", "QLoRA r16", "full fine-tuning", …).

    With weights quantised otherwise "LoRA r16 over 8-bit weights"; "full weights" if nothing trains.
    """
    if not adapter.use_lora:
        return "full fine-tuning" if trains else "full weights"
    rank = adapter.lora.get("r", default_of("r"))
    if adapter.quantization.get("load_in_8bit"):
        return f"LoRA r{rank} over 8-bit weights"
    return f"{'QLoRA' if adapter.use_qlora else 'LoRA'} r{rank}"


def never_measured(stage: Stage, record: Mapping[str, Any]) -> str | None:
    """Return the message for a reused stage whose `eval_data` was added to the recipe later."""
    config = record.get("config")
    before = config.get("eval_strategy", "no") if isinstance(config, Mapping) else "no"
    if stage.eval_data is None or before != "no":
        return None
    return (
        f'it was trained without "eval_data" ({stage.eval_data}), which decides nothing of it: it has no '
        "curve of held-out rows; --fresh trains it again"
    )
