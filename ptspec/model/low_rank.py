"""LoRA adapters as sums of low-rank updates, and the sum of two adapters.

ΔW = s·B·A with A (r × in), B (out × r), s = lora_alpha / r (rsLoRA: lora_alpha / √r). Two updates of the same
weight sum to one of rank r₁ + r₂: s₁B₁A₁ + s₂B₂A₂ = s₂·[B₁·s₁/s₂, B₂]·[A₁; A₂]. A merged or stacked adapter
can thus be saved as one plain adapter over the bare base, which every PEFT reader understands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file

from ptspec.diagnostics import InputError
from ptspec.model.adapters import ADAPTER, cannot_load
from ptspec.recipe.handovers import beyond_low_rank
from ptspec.store.stage_folder import ADAPTER_WEIGHTS

PREFIX = "base_model.model."


@dataclass(frozen=True)
class Factors:
    """The update of one weight, B·A, with the scaling in B: A (r × in), B (out × r)."""

    a: torch.Tensor
    b: torch.Tensor

    @property
    def rank(self) -> int:
        """The rank r."""
        return int(self.a.shape[0])


LowRank = Mapping[str, Factors]
"""An adapter's updates by module name in the base model."""


def is_plain(config: PeftConfig, names: Iterable[str]) -> bool:
    """Return whether an adapter consists of low-rank updates only: no DoRA, whole modules, or biases."""
    plain_kind = isinstance(config, LoraConfig) and beyond_low_rank(vars(config)) is None
    return plain_kind and all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in names)


def read(folder: Path) -> LowRank | None:
    """Return the adapter of `folder` as low-rank updates; None if it has other parts.

    Raises `InputError` if it cannot be read.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder))
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(cannot_load(folder, error)) from error
    return factors(config, tensors) if is_plain(config, tensors) else None


def factors(config: PeftConfig, tensors: Mapping[str, torch.Tensor]) -> LowRank:
    """Return the low-rank updates of an adapter's state dict (names as PEFT saves them)."""
    found = {}
    for name, a in tensors.items():
        if not name.endswith(".lora_A.weight"):
            continue
        module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        b = tensors[name.replace(".lora_A.", ".lora_B.")]
        found[module] = Factors(a.float(), b.float() * scaling(config, module))
    return found


def scaling(config: Any, module: str = "") -> float:
    """Return s of `module` under `config`, with its rank and alpha patterns."""
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), module), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
    return float(alpha / math.sqrt(rank) if config.use_rslora else alpha / rank)


def total(first: LowRank, second: LowRank) -> LowRank:
    """Return the sum of two adapters; every module gets the same rank, padded with zeros."""
    ranks = max_rank(first), max_rank(second)
    joined = {}
    for module in sorted({*first, *second}):
        parts = [
            _padded(adapter.get(module), rank, like=first.get(module) or second[module])
            for adapter, rank in zip((first, second), ranks, strict=True)
        ]
        joined[module] = Factors(
            torch.cat([part.a for part in parts]), torch.cat([part.b for part in parts], dim=1)
        )
    return joined


def max_rank(adapter: LowRank) -> int:
    """Return the highest rank of an adapter's modules."""
    return max(part.rank for part in adapter.values())


def _padded(part: Factors | None, rank: int, like: Factors) -> Factors:
    a = torch.zeros(rank, like.a.shape[1])
    b = torch.zeros(like.b.shape[0], rank)
    if part is not None:
        a[: part.rank], b[:, : part.rank] = part.a, part.b
    return Factors(a, b)


def config_for(adapter: LowRank, model: torch.nn.Module, scale: float, template: LoraConfig) -> LoraConfig:
    """Return a plain LoRA config with the ranks of `adapter` and scaling `scale` everywhere."""
    rank = max_rank(adapter)
    return LoraConfig(
        task_type=template.task_type,
        r=rank,
        lora_alpha=_whole(scale * rank),
        lora_dropout=template.lora_dropout,
        target_modules=target_names(adapter, model),
    )


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number


def target_names(adapter: LowRank, model: torch.nn.Module) -> list[str]:
    """Return the shortest names that match exactly these modules: "q_proj" if every q_proj is among them."""
    ours = set(adapter)
    names = []
    for suffix in sorted({module.rpartition(".")[2] for module in ours}):
        same = {name for name, _ in model.named_modules() if name.rpartition(".")[2] == suffix}
        mine = {module for module in ours if module.rpartition(".")[2] == suffix}
        names += [suffix] if same <= mine else sorted(mine)
    return names


def put(adapter: LowRank, model: PeftModel, name: str = ADAPTER) -> None:
    """Write `adapter` into the LoRA layers of `model`, compensating their scaling.

    Ranks must be at most those of the layers; higher ranks, and layers that are not in it, stay unchanged.
    """
    with torch.no_grad():
        for module, layer in lora_layers(model).items():
            part = adapter.get(module)
            if part is None:
                continue
            a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
            a[: part.rank].copy_(part.a)
            b[:, : part.rank].copy_(part.b / layer.scaling[name])


def lora_layers(model: PeftModel) -> dict[str, Any]:
    """Return the LoRA layers of `model` by the name of the base module that each wraps."""
    base = model.get_base_model()
    return {name: layer for name, layer in base.named_modules() if hasattr(layer, "lora_A")}


def taken(model: PeftModel, name: str = ADAPTER) -> LowRank:
    """Return the adapter in memory as low-rank updates, on the CPU in float32."""
    return {
        module: Factors(
            layer.lora_A[name].weight.detach().float().cpu(),
            layer.lora_B[name].weight.detach().float().cpu() * layer.scaling[name],
        )
        for module, layer in lora_layers(model).items()
    }
