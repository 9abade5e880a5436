"""Disk space: what a stage's folder holds, and its checkpoints during training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptspec.estimate.adapters import REWARD_HEAD, Adapter, StageAdapter, copies_reference
from ptspec.estimate.files import safetensors_bytes
from ptspec.estimate.optimizer import state_bytes
from ptspec.estimate.weights import adapter_width, trained_width
from ptspec.methods.types import Yields
from ptspec.recipe.effective_config import EffectiveConfig, leaves_checkpoints
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import Handover, ModelSpec
from ptspec.recipe.shape import ModelShape
from ptspec.recipe.stage_evaluation import evaluation_of


@dataclass(frozen=True)
class Disk:
    """Bytes on disk.

    `weights`: the finished stage's file; `checkpoint`: the weights of a checkpoint; `optimizer`: its
    optimizer states, removed when finished; `checkpoints`: how many are kept during training; `left`: how
    many afterwards.
    """

    weights: int
    checkpoint: int
    optimizer: int
    checkpoints: int
    left: int

    @property
    def kept(self) -> int:
        """Bytes that remain when the stage is finished."""
        return self.weights + self.left * self.checkpoint

    @property
    def peak(self) -> int:
        """Maximum bytes during training: a new checkpoint is written before an old one is removed."""
        return self.weights + (self.checkpoints + 1) * (self.checkpoint + self.optimizer)


def disk(
    settings: EffectiveConfig, model: ModelSpec, shape: ModelShape, adapter: StageAdapter, steps: int
) -> Disk:
    """Return the bytes that a stage of so many steps writes, without tokenizer, config and metrics."""
    stage = settings.stage
    width = trained_width(settings, model, shape)
    optim = str(settings.value("optim"))
    count = _checkpoints(settings, steps)
    left = count if leaves_checkpoints(stage) else 0
    if adapter.attached is None:
        whole = safetensors_bytes(_whole(settings, model, shape))
        states = state_bytes(optim, [t.shape for t in shape.tensors.values()], width)
        return Disk(whole, whole, states, count, left)
    one = _adapter_file(adapter.attached, width)
    saved = _adapter_file(adapter.saved, _saved_width(settings)) if adapter.saved else _merged(model, shape)
    states = state_bytes(optim, adapter.attached.shapes.values(), width)
    reference = _adapter_file(adapter.attached, 4) if copies_reference(stage) else 0
    return Disk(saved, one + reference, states, count, left)


def disk_of_merge(model: ModelSpec, shape: ModelShape, adapter: StageAdapter) -> Disk:
    """Return the bytes of a merge: an adapter in float32, or full weights of its parts' size."""
    weights = _adapter_file(adapter.saved, 4) if adapter.saved else _merged(model, shape)
    return Disk(weights, 0, 0, 0, 0)


def _adapter_file(adapter: Adapter, width: int) -> int:
    return safetensors_bytes(adapter.tensors("F32" if width == 4 else "BF16"))


def _saved_width(settings: EffectiveConfig) -> int:
    """Return the bytes per element of a saved adapter: a sum of ranks is saved in float32."""
    return 4 if settings.stage.handover is Handover.MERGE else adapter_width(settings)


def _whole(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> dict[str, Tensor]:
    dtype = _stored(model) or "F32"
    found = {name: Tensor(dtype, tensor.shape) for name, tensor in shape.tensors.items()}
    if settings.stage.method.yields is Yields.REWARD_MODEL:
        found = {name: tensor for name, tensor in found.items() if not name.startswith("lm_head.")}
        found[f"{REWARD_HEAD}.weight"] = Tensor(dtype, (1, shape.hidden))
    return found


def _merged(model: ModelSpec, shape: ModelShape) -> int:
    dtype = _stored(model)
    return safetensors_bytes({n: Tensor(dtype or t.dtype, t.shape) for n, t in shape.tensors.items()})


def _stored(model: ModelSpec) -> str | None:
    """Return the recipe's dtype of the weights in safetensors' names; None if it gives none."""
    return {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}.get(model.dtype or "")


def _checkpoints(settings: EffectiveConfig, steps: int) -> int:
    """Return how many checkpoints exist at the end: one per `save_steps`, and the last step's."""
    evaluation = evaluation_of(settings.stage)
    saving = {} if evaluation is None else evaluation.saving
    if saving.get("save_strategy", settings.value("save_strategy")) == "no":
        return 0
    every = saving.get("save_steps", settings.value("save_steps"))
    every = steps * every if isinstance(every, float) and 0 < every < 1 else every
    made = math.ceil(steps / every) if isinstance(every, int | float) and every > 0 else 1
    limit = settings.value("save_total_limit")
    if not isinstance(limit, int) or limit <= 0:
        return made
    # The best one stays beside the newest.
    return min(made, limit + (evaluation is not None and evaluation.hands_on_best))
