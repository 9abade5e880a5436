"""A LoRA model that computes some rows as the policy and the others as the reference, in one pass.

The base weights are read once for both, which takes most of a decoding step. A LoRA layer adds s·B·A·x: to
the first rows the policy adapter's, to the others the reference's, or nothing. PEFT's own mixed batches
(`adapter_names`) index lists of rows in every layer; these are slices.
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
    """A layer's input is not (rows, tokens, features), as in experts of a mixture."""


class AdapterRows:
    """Assigns adapters to rows: `policy` to the first `split` of `rows`, `reference` (None.

    No adapter) to the rest.
    """

    def __init__(self, policy: str, reference: str | None) -> None:
        self.policy = policy
        self.reference = reference
        self.rows = 0
        self.split = 0

    def are(self, rows: int, split: int) -> None:
        """Set the number of rows, and of those of the policy."""
        self.rows, self.split = rows, split

    def added(self, layer: Any, x: Tensor, result: Tensor) -> Tensor:
        """Return the base layer's `result` plus the adapters' outputs, in the dtype of `result`.

        Shapes are (rows, tokens, features). Raises `NotByRowsError` for other inputs.
        """
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
    """Return s·B·A·x of an adapter, in evaluation mode."""
    down: nn.Linear = layer.lora_A[adapter]
    scaled: Tensor = layer.lora_B[adapter](down(x.to(down.weight.dtype))) * layer.scaling[adapter]
    return scaled


@contextmanager
def by_rows(model: Any, rows: AdapterRows) -> Iterator[None]:
    """Within the context, the LoRA layers of `model` follow `rows`; not for training.

    `model`: a PeftModel, or its base model.
    """
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
    """Return whether `by_rows` is exact for these adapters: plain LoRA over linear layers only."""
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper):
            return False
        if isinstance(module, BaseTunerLayer) and not _is_plain(module, adapters):
            return False
    return True


def _is_plain(layer: Any, adapters: list[str]) -> bool:
    is_linear = type(layer) is Linear and "forward" not in layer.__dict__
    return is_linear and not layer.merged and not any(name in layer.lora_variant for name in adapters)
