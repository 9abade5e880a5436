"""The exponential moving average of a policy's trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class MovingAverage:
    """θ̄ ← d·θ̄ + (1 − d)·θ over the trained parameters of `model`, starting from their first values.

    Kept in the parameters' dtype, or float32 for shorter ones, where a step of 1 − d would round away.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.average: dict[str, Tensor] = {}

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that require gradients, by name."""
        return {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self) -> None:
        """Update the average after an optimizer step."""
        self.begin()
        for name, parameter in self.trained().items():
            self.average[name].lerp_(parameter.detach().to(self.average[name].dtype), 1 - self.decay)

    @torch.no_grad()
    def begin(self) -> None:
        """Initialise the average from the present weights, unless it exists."""
        if not self.average:
            self.average = {
                name: _long(parameter.detach()).clone() for name, parameter in self.trained().items()
            }

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the context, the model uses the average; the trained weights are restored afterwards."""
        self.begin()
        parameters = self.trained()
        own = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                parameter.data = self.average[name].to(parameter.dtype)
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = own[name]

    def save(self, file: Path) -> None:
        """Write this process's part of the average to a safetensors file."""
        self.begin()
        save_file({name: _local(tensor).contiguous() for name, tensor in self.average.items()}, str(file))

    def load(self, file: Path) -> None:
        """Read this process's part of the average from a safetensors file."""
        self.begin()
        for name, tensor in load_file(str(file)).items():
            _local(self.average[name]).copy_(tensor)


def _long(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _local(tensor: Any) -> Tensor:
    """Return this process's shard of a tensor."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local
