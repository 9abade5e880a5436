"""From the policy that comes in to the policy a stage trains, and the reference it is held against.

The reference of a stage is the policy that came in, exactly; without a second copy of the base weights
wherever an adapter can be switched instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peft import LoraConfig

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.model.adapters import attach, lora_config
from ptspec.model.base import Base
from ptspec.recipe.plan import AdapterSpec, Handover, Stage
from ptspec.run.artifact import Artifact


@dataclass(frozen=True)
class Policy:
    """What a trainer is given.

    `adapter` is a new adapter for the trainer to put on `model` (its reference: the adapter switched off);
    None where `model` carries a trained one already (its reference: a frozen copy beside it) or is trained
    in full. `reference_model` is set only where no adapter can be switched: full fine-tuning.
    """

    model: Any
    adapter: LoraConfig | None = None
    reference_model: Any | None = None


def prepare(base: Base, incoming: Artifact | None, stage: Stage) -> Policy:
    """The policy of `stage` over `base`, the weights that `incoming` (None: the bare base) stands on."""
    if not stage.adapter.use_lora:
        return _full(base, incoming, stage)
    if incoming is None or not incoming.is_adapter:
        return Policy(base.spawn(), adapter=lora_config(stage.adapter))
    if stage.handover is not Handover.CONTINUE:
        raise InputError(_not_yet(stage))
    return Policy(attach(base.spawn(), incoming.folder, trainable=True))


def _full(base: Base, incoming: Artifact | None, stage: Stage) -> Policy:
    if incoming is not None and incoming.is_adapter:
        raise InputError(_not_yet(stage))
    reference = base.spawn() if stage.method.reference else None
    return Policy(base.spawn(own_weights=True), reference_model=reference)


def _not_yet(stage: Stage) -> Diagnostic:
    return Diagnostic(
        "unsupported-handover",
        f'stage "{stage.name}" changes the adapter setup of the policy that comes in, which only '
        '"continue" (the same adapter, trained on) can hand over in this version',
        pointer=f"{stage.at}/adapter",
        hint="give the stage the adapter settings of the stage it starts from",
    )


def describe_adapter(adapter: AdapterSpec) -> str:
    """The adapter setup in words: "LoRA r16", "QLoRA r16", "full fine-tuning"."""
    if not adapter.use_lora:
        return "full fine-tuning"
    rank = adapter.lora.get("r", LoraConfig.r)
    return f"{'QLoRA' if adapter.use_qlora else 'LoRA'} r{rank}"
