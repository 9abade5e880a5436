"""LoRA adapters: new ones, ones read from a stage's folder, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.model.base import Base
from ptspec.recipe.plan import AdapterSpec

ADAPTER = "default"
"""The adapter's name in PEFT. By it alone TRL finds the policy, which it copies to the reference "ref"."""


def lora_config(adapter: AdapterSpec) -> LoraConfig:
    """The recipe's LoRA fields as PEFT's config. Raises `InputError` with PEFT's own words."""
    try:
        return LoraConfig(task_type="CAUSAL_LM", **adapter.lora)
    except (TypeError, ValueError) as error:
        raise InputError(Diagnostic("wrong-adapter", str(error), pointer=adapter.at)) from error


def attach(model: Any, folder: Path, *, trainable: bool) -> PeftModel:
    """`model` with the adapter of `folder` on it, under the name that TRL expects."""
    return PeftModel.from_pretrained(model, folder, adapter_name=ADAPTER, is_trainable=trainable)


def save_policy(model: Any, base: Base, folder: Path) -> None:
    """Saves the policy so that one line of plain PEFT or transformers loads it: the trained adapter alone (a
    reference adapter beside it stays out), or full weights; the tokenizer and generation config with it."""
    if isinstance(model, PeftModel):
        model.peft_config[ADAPTER].base_model_name_or_path = base.path
        model.save_pretrained(str(folder), selected_adapters=[ADAPTER])
        (folder / "README.md").unlink(missing_ok=True)
    else:
        model.save_pretrained(str(folder))
    base.model.generation_config.save_pretrained(str(folder))
    base.tokenizer.save_pretrained(str(folder))
