"""New adapters whose initialisation takes a part out of the base weights (PiSSA, OLoRA).

PEFT initialises such an adapter with a part s·B₀A₀ of each weight W and trains W − s·B₀A₀ + s·BA, changing W
itself. A run's base is shared and unchanged, so here the adapter has twice the rank: −s·B₀A₀ frozen in its
first half, s·BA trained in its second. That computes the same and starts exactly from the policy below; its
frozen copy is the right reference, and a plain LoRA adapter over the base is saved.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import Linear
from transformers.pytorch_utils import Conv1D

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.model import low_rank
from ptspec.model.adapters import ADAPTER
from ptspec.model.frozen_ranks import FrozenRanks
from ptspec.model.low_rank import Factors


def split_adapter(model: Any, config: LoraConfig, seed: int, at: str) -> tuple[PeftModel, FrozenRanks]:
    """Return `model` with a new adapter of `config`, and its frozen half.

    `seed` is for initialisations with random numbers (`pissa_niter_…`). Raises `InputError` at the pointer
    `at` if the initialisation does not support a layer.
    """
    devices = [model.device] if model.device.type == "cuda" else []
    adapted = get_peft_model(model, _doubled(config), adapter_name=ADAPTER)
    halves = {}
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(seed)
        for module, layer in low_rank.lora_layers(adapted).items():
            try:
                halves[module] = _halves(layer, config)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise InputError(_cannot_initialise(config, module, at)) from error
    low_rank.put(halves, adapted)
    return adapted, frozen_half(adapted)


def frozen_half(model: PeftModel) -> FrozenRanks:
    """Freeze the first half of the ranks of `model`, an adapter that `split_adapter` made."""
    layers = low_rank.lora_layers(model)
    return FrozenRanks(model, {module: layer.r[ADAPTER] // 2 for module, layer in layers.items()})


def _doubled(config: LoraConfig) -> LoraConfig:
    """Return `config` with twice the ranks, the same scaling, and PEFT's default initialisation."""
    factor = math.sqrt(2) if config.use_rslora else 2
    doubled = copy.deepcopy(config)
    doubled.init_lora_weights = True
    doubled.r, doubled.lora_alpha = config.r * 2, config.lora_alpha * factor
    doubled.rank_pattern = {name: rank * 2 for name, rank in config.rank_pattern.items()}
    doubled.alpha_pattern = {name: alpha * factor for name, alpha in config.alpha_pattern.items()}
    return doubled


def _halves(layer: Any, config: LoraConfig) -> Factors:
    """Return the initial factors of `layer`, of twice the rank: their sum is zero."""
    rank = layer.r[ADAPTER] // 2
    a = torch.zeros_like(layer.lora_A[ADAPTER].weight[:rank], dtype=torch.float32)
    b = torch.zeros_like(layer.lora_B[ADAPTER].weight[:, :rank], dtype=torch.float32)
    start = _start(layer, config, rank)
    a[: start.rank], b[:, : start.rank] = start.a, start.b
    return Factors(torch.cat([a, a]), torch.cat([-b, b], dim=1))


def _start(layer: Any, config: LoraConfig, rank: int) -> Factors:
    """Return PEFT's initial adapter of `layer`, computed on a copy of its weight."""
    single = copy.copy(config)
    single.fan_in_fan_out = layer.fan_in_fan_out
    base = copy.deepcopy(layer.get_base_layer())
    scaling = layer.scaling[ADAPTER]
    alone = Linear(
        base,
        ADAPTER,
        single,
        r=rank,
        lora_alpha=scaling * (math.sqrt(rank) if config.use_rslora else rank),
        is_target_conv_1d_layer=isinstance(base, Conv1D),
    )
    a, b = alone.lora_A[ADAPTER].weight, alone.lora_B[ADAPTER].weight
    return Factors(a.detach().float(), b.detach().float() * scaling)


def _cannot_initialise(config: LoraConfig, module: str, at: str) -> Diagnostic:
    message = f'"init_lora_weights": "{config.init_lora_weights}" cannot be computed for the layer {module}'
    hint = '"target_modules": "all-linear" names linear layers only; or leave "init_lora_weights" out'
    return Diagnostic("wrong-adapter", message, pointer=at, hint=hint)
