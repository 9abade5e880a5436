"""LoRA adapters: new ones, and ones read from a stage's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from safetensors import SafetensorError

from ptspec.diagnostics import Diagnostic, InputError, Location, first_line
from ptspec.model.vocabulary import grow, rows_saved
from ptspec.recipe.plan import AdapterSpec
from ptspec.store.safetensors_only import refuse_pickles
from ptspec.store.stage_folder import ADAPTER_WEIGHTS

ADAPTER = "default"
"""The adapter's name in PEFT. TRL finds the policy by this name only, and copies it to the reference
"ref"."""


def lora_config(adapter: AdapterSpec, task: str = "CAUSAL_LM") -> LoraConfig:
    """Return the recipe's LoRA fields as PEFT's config. Raises `InputError` with PEFT's own message."""
    try:
        return LoraConfig(task_type=task, **adapter.lora)
    except (TypeError, ValueError) as error:
        raise InputError(Diagnostic("wrong-adapter", str(error), pointer=adapter.at)) from error


def attach(model: Any, folder: Path, *, trainable: bool) -> PeftModel:
    """Attach the adapter of `folder` to `model`, under the name that TRL expects.

    Embeddings grow to those of the adapter. Raises `InputError` if it is damaged, missing, or for other
    weights.
    """
    refuse_pickles(str(folder), None)
    try:
        if not (folder / ADAPTER_WEIGHTS).is_file():
            raise OSError(f"there is no {ADAPTER_WEIGHTS}")
        grow(model, rows_saved(folder))
        return PeftModel.from_pretrained(model, folder, adapter_name=ADAPTER, is_trainable=trainable)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(cannot_load(folder, error)) from error


def cannot_load(folder: Path, error: Exception) -> Diagnostic:
    """Return the error for an adapter that a library cannot read."""
    message = f"the adapter in {folder} cannot be loaded: {first_line(error)}"
    hint = "pt verify RUN says which files differ from what was written"
    return Diagnostic("cannot-load-adapter", message, Location(str(folder)), hint=hint)
