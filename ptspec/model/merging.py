"""Weighted sums of policies: adapters as low-rank updates, full weights tensor by tensor.

Each sum is also computed in a second way, to verify what was saved. Σ wᵢ·BᵢAᵢ is one adapter of rank Σ rᵢ
(PEFT's `add_weighted_adapter` calls that "cat"). The sum of the factors, (Σ √wᵢAᵢ, Σ √wᵢBᵢ), which PEFT calls
"linear", has products of one adapter's A with another's B: it is not the sum of the policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from peft import PeftModel
from safetensors import SafetensorError, safe_open

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.model import low_rank
from ptspec.model.low_rank import Factors, LowRank
from ptspec.recipe.hints import first_of
from ptspec.store.files import read_json
from ptspec.store.safetensors_only import refuse_pickles
from ptspec.store.stage_folder import MODEL_CONFIG

Part = tuple[Path, float]
"""The folder of a policy, and its weight."""

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
SUM = "sum"
NAMED = 3


def sum_of_adapters(parts: Sequence[Part]) -> LowRank:
    """Return Σ wᵢ·BᵢAᵢ. Raises `InputError` if an adapter has parts besides low-rank updates."""
    return reduce(low_rank.total, (_scaled(folder, weight) for folder, weight in parts))


def _scaled(folder: Path, weight: float) -> LowRank:
    found = low_rank.read(folder)
    if found is None:
        message = f"the adapter in {folder} is more than low-rank updates: it cannot be a part of a sum"
        hint = "pt export makes full weights of each part, which can be merged"
        raise InputError(Diagnostic("cannot-merge", message, Location(str(folder)), hint=hint))
    return {module: Factors(part.a, part.b * weight) for module, part in found.items()}


def adapters_by_peft(model: Any, parts: Sequence[Part]) -> PeftModel:
    """Return `model` with the sum of the adapters, computed by PEFT in memory."""
    names = [f"part{number}" for number in range(len(parts))]
    summed = PeftModel.from_pretrained(model, parts[0][0], adapter_name=names[0])
    for name, (folder, _) in zip(names[1:], parts[1:], strict=True):
        summed.load_adapter(folder, adapter_name=name)
    for name in names:
        # By full names: PEFT cannot sum a list of modules with a pattern.
        on = {module for module, layer in low_rank.lora_layers(summed).items() if name in layer.lora_A}
        summed.peft_config[name].target_modules = on
    weights = [weight for _, weight in parts]
    if len(names) == 1:
        # For a single adapter PEFT uses the square root of its weight: add two halves of it.
        names, weights = names * 2, [weights[0] / 2] * 2
    summed.add_weighted_adapter(names, weights, SUM, combination_type="cat")
    summed.set_adapter(SUM)
    return summed


def save_mean(parts: Sequence[Part], folder: Path) -> None:
    """Write Σ wᵢWᵢ of full weights to `folder`.

    Each tensor is computed in float32 and rounded once to the first part's dtype. Holds one model and a
    tensor of each part in memory. Raises `InputError` if shapes differ.
    """
    with ExitStack() as opened:
        stored = [_Stored(part, opened) for part, _ in parts]
        names = _common(stored)
        weights = [weight for _, weight in parts]
        mean = {name: _mean([one.tensor(name) for one in stored], weights, name, stored) for name in names}
    save_torch_state_dict(mean, folder)


class _Stored:
    """The tensors of a folder, read on demand."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        refuse_pickles(str(folder), None)
        self.folder = folder
        index = folder / INDEX
        names = set(read_json(index)["weight_map"].values()) if index.is_file() else {WEIGHTS}
        self._files = {}
        for name in sorted(names):
            try:
                file = opened.enter_context(safe_open(folder / name, framework="pt"))
            except (OSError, ValueError, SafetensorError) as error:
                message = f"the weights in {folder / name} cannot be read: {error}"
                where = Location(str(folder / name))
                raise InputError(Diagnostic("cannot-load-model", message, where)) from error
            self._files.update(dict.fromkeys(file.keys(), file))

    @property
    def names(self) -> set[str]:
        return set(self._files)

    @property
    def is_tied(self) -> bool:
        """Whether the output weights equal the embeddings and need not be stored."""
        config = read_json(self.folder / MODEL_CONFIG)
        return bool(
            config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings"))
        )

    def tensor(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._files[name].get_tensor(name)
        return found


def _common(stored: Sequence[_Stored]) -> list[str]:
    """Return the tensors of all parts, in order. Tied embeddings may be missing in some."""
    first = stored[0]
    names = set.intersection(*(one.names for one in stored))
    left = set.union(*(one.names for one in stored)) - names
    odd = {name for name in left if not (name.endswith("lm_head.weight") and first.is_tied)}
    if odd:
        other = next(one for one in stored if odd & (one.names ^ first.names))
        told = first_of(sorted(odd & (other.names ^ first.names)), NAMED)
        raise InputError(_other_shape(first, other, f"not both have {told}"))
    return sorted(names)


def _mean(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], name: str, stored: Sequence[_Stored]
) -> torch.Tensor:
    first = tensors[0]
    for tensor, one in zip(tensors, stored, strict=True):
        if tensor.shape != first.shape:
            shapes = f"{name} is {list(first.shape)} in one and {list(tensor.shape)} in the other"
            raise InputError(_other_shape(stored[0], one, shapes))
        if not tensor.is_floating_point() and not torch.equal(tensor, first):
            raise InputError(_other_shape(stored[0], one, f"{name} holds whole numbers that differ"))
    if not first.is_floating_point():
        return first
    total = torch.zeros(first.shape)
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor.float(), alpha=weight)
    return total.to(first.dtype)


def _other_shape(first: _Stored, other: _Stored, why: str) -> Diagnostic:
    message = f"the weights of {first.folder.name} and {other.folder.name} do not add up: {why}"
    return Diagnostic("merge-mixed", message, Location(str(other.folder)), hint="merge models of one shape")


def add_weights(model: Any, other: Any, weight: float) -> None:
    """Add `weight` times the parameters of `other` to those of `model`, in place."""
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
            ours.add_(theirs.to(ours.device), alpha=weight)


def scale_weights(model: Any, weight: float) -> None:
    """Multiply the parameters of `model` by `weight`, in place."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(weight)
