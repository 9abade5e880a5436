"""Merge an adapter into copies of its layers' weights while a model is measured, if memory allows.

An unmerged LoRA layer computes two narrow products and two passes over its output besides its own product.
The model's weights are not changed: within the context each layer uses a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora.layer import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ptspec.evaluation.memory import SHARE, free_bytes
from ptspec.model.decoding.adapter_rows import readable_by_rows
from ptspec.processes import current

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def adapter_merged(model: PreTrainedModel, base: PreTrainedModel | None = None) -> Iterator[None]:
    """Within the context, compute `model` with its plain LoRA adapter merged: equal up to rounding.

    Only in float32, where the sum loses nothing of the adapter. `base` must not be affected.
    """
    layers = mergeable(model)
    inside = set() if base is None else set(base.modules())
    size = sum(layer.base_layer.weight.numel() * layer.base_layer.weight.element_size() for layer in layers)
    free = free_bytes(model.device)
    fits = free is not None and size <= free * SHARE[model.device.type] and not inside.intersection(layers)
    if not current().of_first(fits):
        layers = []
    try:
        for layer in layers:
            layer.forward = _merged(layer)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def mergeable(model: Any) -> list[Any]:
    """Return the LoRA layers of `model`; [] if one cannot be merged without loss."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    names = sorted({name for layer in layers for name in layer.active_adapters})
    plain = readable_by_rows(model, names) and all(map(_is_plain, layers))
    return layers if plain else []


def _is_plain(layer: Any) -> bool:
    if not isinstance(layer, Linear) or layer.disable_adapters or any(layer.lora_bias.values()):
        return False
    base = layer.base_layer
    return type(base) is nn.Linear and base.weight.dtype == torch.float32


def _merged(layer: Any) -> Callable[..., Tensor]:
    base, active = layer.base_layer, [name for name in layer.active_adapters if name in layer.lora_A]
    with torch.no_grad():
        weight = base.weight.detach().clone()
        for name in active:
            weight += layer.get_delta_weight(name)

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return nn.functional.linear(x, weight, base.bias)

    return forward
