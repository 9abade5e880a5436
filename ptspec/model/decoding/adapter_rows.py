"""A LoRA model that reads some rows as its policy and the others as its reference, in one pass.

The base weights are read once for both, which is most of the time of a decoding step. A LoRA layer adds
s·B·A·x: to the first rows that of the policy's adapter, to the others that of the reference's, or nothing.
PEFT's own mixed batches (`adapter_names`) go by lists of rows in every layer; these are slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peft.tuners.lora.layer import Linear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn


class NotByRowsError(Exception):
    """A layer is given something other than (rows, tokens, features), as experts of a mixture are."""


class AdapterRows:
    """Which adapter reads which rows: `policy` the first `split` of `rows`, `reference` (None: no adapter)
    the others."""

    def __init__(self, policy: str, reference: str | None) -> None:
        self.policy = policy
        self.reference = reference
        self.rows = 0
        self.split = 0

    def are(self, rows: int, split: int) -> None:
        self.rows, self.split = rows, split

    def added(self, layer: Any, x: Tensor, result: Tensor) -> Tensor:
        """`result` of the base layer with what the adapters add, in its own type."""
        if x.dim() != 3 or len(x) != self.rows:
            raise NotByRowsError
        if self.policy in layer.lora_A and self.split == self.rows:
            return (result + low_rank(layer, self.policy, x)).to(result.dtype)
        if self.policy in layer.lora_A and self.split:
            result[: self.split] += low_rank(layer, self.policy, x[: self.split])
        if self.reference is not None and self.reference in layer.lora_A and self.split < self.rows:
            result[self.split :] += low_rank(layer, self.reference, x[self.split :])
        return result


def low_rank(layer: Any, adapter: str, x: Tensor) -> Tensor:
    """s·B·A·x of an adapter, in evaluation mode."""
    down: nn.Linear = layer.lora_A[adapter]
    scaled: Tensor = layer.lora_B[adapter](down(x.to(down.weight.dtype))) * layer.scaling[adapter]
    return scaled


@contextmanager
def by_rows(model: Any, rows: AdapterRows) -> Iterator[None]:
    """Within, the LoRA layers of `model` (a PeftModel, or its base model) go by `rows`; not to be trained."""
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    try:
        for layer in layers:
            layer.forward = _forward(layer, rows)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _forward(layer: Any, rows: AdapterRows) -> Callable[..., Tensor]:
    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return rows.added(layer, x, layer.base_layer(x, *args, **kwargs))

    return forward


def readable_by_rows(model: nn.Module, adapters: list[str]) -> bool:
    """Whether `by_rows` is exact for these adapters of `model`: plain LoRA over linear layers alone."""
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper):
            return False
        if isinstance(module, BaseTunerLayer) and not _is_plain(module, adapters):
            return False
    return True


def _is_plain(layer: Any, adapters: list[str]) -> bool:
    is_linear = type(layer) is Linear and "forward" not in layer.__dict__
    return is_linear and not layer.merged and not any(name in layer.lora_variant for name in adapters)
