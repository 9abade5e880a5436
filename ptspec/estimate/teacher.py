"""Memory of a teacher, which is held whole during training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ptspec.estimate.weights import weight_bytes
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import NoShape
from ptspec.recipe.plan import AdapterSpec, ModelSpec
from ptspec.recipe.shape import ModelShape, read_shape


def teacher_bytes(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> int:
    """Return the teacher's bytes in addition to the policy's.

    0 if it shares the base with a trained adapter and is not sharded; the base's size if its shape is
    unknown.
    """
    stage = settings.stage
    if stage.teacher is None:
        return 0
    if stage.teacher.shares_base and stage.adapter.use_lora and not stage.compute.is_sharded:
        return 0
    with suppress(NoShape):
        shape = read_shape(Path(stage.teacher.path))
    plain = replace(settings, stage=replace(stage, adapter=AdapterSpec(True)))
    return weight_bytes(plain, model, shape)
