"""Ranks of an adapter that are active and not trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from peft import PeftModel

from ptspec.model import low_rank
from ptspec.model.adapters import ADAPTER


class FrozenRanks:
    """Freezes the first `ranks[module]` ranks of each LoRA layer of `model`.

    Their gradient is masked, so that the gradient norm is that of the trained part; `restore` resets them
    after an optimizer step, since weight decay changes weights without gradient.
    """

    def __init__(self, model: PeftModel, ranks: Mapping[str, int]) -> None:
        self._parts: list[tuple[torch.nn.Parameter, tuple[slice, ...]]] = []
        for module, layer in low_rank.lora_layers(model).items():
            first = slice(0, ranks[module])
            self._parts.append((layer.lora_A[ADAPTER].weight, (first, slice(None))))
            self._parts.append((layer.lora_B[ADAPTER].weight, (slice(None), first)))
        for weight, place in self._parts:
            weight.register_hook(_masked(place))
        self.remember()

    @property
    def elements(self) -> int:
        """Number of frozen elements."""
        return sum(value.numel() for value in self._values)

    def remember(self) -> None:
        """Store the present values, which a checkpoint may have loaded, as those to keep."""
        self._values = [weight.detach()[place].clone() for weight, place in self._parts]

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the stored values."""
        for (weight, place), value in zip(self._parts, self._values, strict=True):
            weight[place] = value.to(weight.dtype)


def _masked(place: tuple[slice, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
    def mask(gradient: torch.Tensor) -> torch.Tensor:
        masked = gradient.clone()
        masked[place] = 0
        return masked

    return mask
