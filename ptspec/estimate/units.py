"""The units that FSDP gathers together: each decoder layer, the embeddings, the output.

accelerate 1.15, `fsdp2_prepare_model`: every layer is a unit, and so are the input embeddings; the last norm
and the output head (and embeddings tied to it) are one that stays gathered from the forward to the backward
pass, as does the rest. Adapters belong to their layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ptspec.estimate.adapters import PREFIX
from ptspec.recipe.shape import HEADS, TOKEN_EMBEDDINGS

Shape = tuple[int, ...]
_LAYER = re.compile(r"(.*?\.\d+)\.")


@dataclass(frozen=True)
class Units:
    """Tensors by unit.

    `layers` and `embeddings` are freed after a forward pass and gathered again for the backward pass; `kept`
    are gathered once for both.
    """

    layers: tuple[tuple[Shape, ...], ...]
    embeddings: tuple[Shape, ...]
    kept: tuple[Shape, ...]

    @property
    def resharded(self) -> list[Shape]:
        """Shapes of the tensors that are gathered twice per pass."""
        return [shape for layer in self.layers for shape in layer] + list(self.embeddings)

    @property
    def count(self) -> int:
        """Return how many are gathered one after another."""
        return len(self.layers) + bool(self.embeddings) + bool(self.kept)


def units(tensors: Mapping[str, Shape], *, tied: bool) -> Units:
    """Return the units of a model with these tensors by name. `tied`: the head shares the embeddings."""
    layers: dict[str, list[Shape]] = {}
    embeddings, kept = [], []
    for name, shape in tensors.items():
        name = name.removeprefix(PREFIX)
        if found := _LAYER.match(name):
            layers.setdefault(found[1], []).append(shape)
        elif not tied and any(f".{one}." in f".{name}" for one in TOKEN_EMBEDDINGS):
            embeddings.append(shape)
        else:
            kept.append(shape)
    return Units(tuple(tuple(layer) for layer in layers.values()), tuple(embeddings), tuple(kept))


def is_tied(tensors: Mapping[str, Shape]) -> bool:
    """Return whether the output head among these tensors is the embeddings."""
    return not any(name.removesuffix(".weight").rpartition(".")[2] in HEADS for name in tensors)
