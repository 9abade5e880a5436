"""Memory held throughout a stage's training, and what sharded weights need in addition.

Elements by strategy: `ptspec.estimate.sharding`. Dtypes of engines in mixed precision: accelerate 1.15 casts
what FSDP2 trains to float32 (`fsdp2_prepare_model`) and gathers weights and reduces gradients in 16 bits;
DeepSpeed 0.19 casts the model to 16 bits and keeps float32 copies of what it trains beside the optimizer
states (K = 12 bytes per element for Adam, Rajbhandari et al. 2020, arXiv 1910.02054 §3.1). Buckets: torch's
DDP keeps gradients twice (`gradient_as_bucket_view` is off), DeepSpeed has buffers of `reduce_bucket_size`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ptspec.estimate.adapters import StageAdapter, copies_reference
from ptspec.estimate.optimizer import is_paged, state_bytes
from ptspec.estimate.sharding import Engine, Shapes, Sharding, elements, sharding_of
from ptspec.estimate.teacher import teacher_bytes
from ptspec.estimate.units import Units, is_tied, units
from ptspec.estimate.weights import (
    quantised_layers,
    stored_width,
    trained_width,
    weight_bytes,
    weight_width,
)
from ptspec.methods.types import Yields
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import Handover, ModelSpec
from ptspec.recipe.shape import HEADS, ModelShape

BUCKET, LIVE = 500_000_000, 1_000_000_000
"""DeepSpeed's defaults of `reduce_bucket_size` and `stage3_max_live_parameters`, in elements."""
LAYERS_AT_ONCE = 3
"""Layers that FSDP2 has gathered at once: the present one, the next one, and its receive buffer."""


@dataclass(frozen=True)
class Part:
    """A named part of the memory, in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Holder:
    """One process of a stage: which tensors it holds, in which dtypes."""

    settings: EffectiveConfig
    model: ModelSpec
    shape: ModelShape
    adapter: StageAdapter

    @property
    def sharding(self) -> Sharding:
        """How the stage's processes share the model."""
        return sharding_of(self.settings.compute)

    @property
    def trained(self) -> Shapes:
        """Shapes of the trained tensors: the adapter's, or the model's."""
        if self.adapter.attached is not None:
            return list(self.adapter.attached.shapes.values())
        return [tensor.shape for tensor in self.shape.tensors.values()]

    @property
    def trained_width(self) -> int:
        """Bytes per element of what is trained, as the engine stores it."""
        return self._as_kept(trained_width(self.settings, self.model, self.shape), trains=True)

    @property
    def gathered_width(self) -> int:
        """Bytes per element of gathered weights and reduced gradients of a sharding engine."""
        return 2 if self.settings.mixed else stored_width(self.settings, self.model, self.shape)

    @property
    def bucket(self) -> int:
        """Elements of gradients that DeepSpeed reduces at once."""
        return max(1, _number(self.settings, "reduce_bucket_size", BUCKET))

    @property
    def weights(self) -> int:
        """Bytes of the base's weights in this process."""
        if self.sharding.engine is Engine.DDP or self.settings.stage.adapter.use_qlora:
            return weight_bytes(self.settings, self.model, self.shape)
        if "param" in self.sharding.on_host:
            return 0
        return sum(
            elements(self._part([tensor.shape])) * self._width(tensor.dtype)
            for tensor in self.shape.tensors.values()
        )

    @property
    def units(self) -> Units:
        """What FSDP gathers together: layers with their adapters."""
        tensors = {name: tensor.shape for name, tensor in self.shape.tensors.items()}
        if self.settings.stage.method.yields is Yields.REWARD_MODEL:
            return units({n: s for n, s in tensors.items() if n.partition(".")[0] not in HEADS}, tied=False)
        attached = self.adapter.attached.shapes if self.adapter.attached is not None else {}
        return units({**tensors, **attached}, tied=is_tied(tensors))

    def held(self) -> Iterator[Part]:
        """Yield the parts held from the first step to the last."""
        stage = self.settings.stage
        yield Part("weights", self.weights)
        if not stage.adapter.use_lora and stage.holds_reference:
            yield Part("reference model", self.weights)
        elif stage.adapter.use_qlora and stage.handover is Handover.MERGE:
            yield Part("dequantised weights", self._dequantised())
        yield Part("teacher", teacher_bytes(self.settings, self.model, self.shape))
        sharding, width = self.sharding, self.trained_width
        count = elements(self.trained)
        if self.adapter.attached is not None:
            kept = elements(self._part(self.trained)) * width
            yield Part("adapter", kept)
            if copies_reference(stage):
                yield Part("reference adapter", kept)
        own = elements(sharding.part(self.trained)) if sharding.gradients else count
        yield Part("gradients", own * width)
        yield from self._buckets(count, width)
        optim = str(self.settings.value("optim"))
        yield Part(f"optimizer states{' (paged)' if is_paged(optim) else ''}", self._states(optim, width))
        copies = sharding.engine is Engine.DDP and self.settings.mixed
        if copies and self.adapter.attached is None and width == 4:
            # Autocast keeps a 16-bit copy of every 32-bit matrix while a forward pass lasts.
            copied = sum(self.shape.matrices[name].elements for name in self.shape.linear)
            yield Part("16-bit copies", 2 * copied)

    def gathered(self) -> Iterator[Part]:
        """Yield weights that are whole while used, and their gradients."""
        sharding, width = self.sharding, self.gathered_width
        if not sharding.weights:
            return
        stage = self.settings.stage
        whole = elements(tensor.shape for tensor in self.shape.tensors.values())
        if sharding.engine is Engine.ZERO:
            live = min(whole, _number(self.settings, "stage3_max_live_parameters", LIVE))
            yield Part("gathered weights", live * width)
            return
        found = self.units
        largest = max((elements(layer) for layer in found.layers), default=0)
        layers = elements(found.resharded) if sharding.keeps_gathered else LAYERS_AT_ONCE * largest
        if not stage.adapter.use_lora and stage.holds_reference:
            # TRL shards a reference model as one unit (`prepare_fsdp`).
            layers = max(layers, whole)
        yield Part("gathered weights", (elements(found.kept) + layers) * width)
        trained = 1 if self.adapter.attached is None else self.adapter.attached.parameters / whole
        yield Part("gathered gradients", round(2 * largest * trained * width))

    def opened(self) -> Iterator[Part]:
        """Yield whole weights before sharding, and when the saved model is verified and evaluated."""
        if not self.sharding.weights:
            return
        stage = self.settings.stage
        whole = weight_bytes(self.settings, self.model, self.shape)
        yield Part("whole weights", whole)
        if not stage.adapter.use_lora and stage.holds_reference:
            yield Part("whole reference model", whole)
        yield Part("their parts", self.weights)

    def _part(self, shapes: Shapes) -> Shapes:
        return self.sharding.part(shapes) if self.sharding.weights else shapes

    def _width(self, stored: str) -> int:
        width = weight_width(self.settings, self.model, self.shape, stored)
        return self._as_kept(width, trains=self.adapter.attached is None)

    def _as_kept(self, width: int, *, trains: bool) -> int:
        if not self.settings.mixed or self.sharding.engine is Engine.DDP:
            return width
        if self.sharding.engine is Engine.FSDP:
            return 4 if trains else width
        return min(width, 2)

    def _buckets(self, count: int, width: int) -> Iterator[Part]:
        """Yield the buffers of gradients that are sent."""
        sharding = self.sharding
        if sharding.processes == 1:
            return
        if sharding.engine is Engine.DDP:
            yield Part("gradient buckets", count * width)
        elif sharding.engine is Engine.ZERO:
            buffers = 2 if _zero(self.settings, "overlap_comm", sharding.stage == 3) else 1
            yield Part("gradient buckets", buffers * self.bucket * width)
        elif self.settings.number("gradient_accumulation_steps", 1) > 1:
            # accelerate's no_sync: gradients are reduced after the last pass of a step, whole until then.
            yield Part("gradients of earlier passes", count * self.gathered_width)

    def _states(self, optim: str, width: int) -> int:
        sharding = self.sharding
        kept = sharding.part(self.trained) if sharding.optimizer else self.trained
        if sharding.engine is not Engine.ZERO:
            return state_bytes(optim, kept, width)
        if "optimizer" in sharding.on_host:
            return 0
        return 4 * elements(kept) + state_bytes(optim, kept, 4)

    def _dequantised(self) -> int:
        linear = [self.shape.matrices[name] for name in quantised_layers(self.settings, self.shape)]
        width = weight_width(self.settings, self.model, self.shape, linear[0].dtype if linear else "F32")
        return width * sum(tensor.elements for tensor in linear)


def _zero(settings: EffectiveConfig, name: str, default: object) -> object:
    """Return a field of the recipe's `zero_optimization`."""
    given = (settings.compute.deepspeed or {}).get("zero_optimization")
    return given.get(name, default) if isinstance(given, dict) else default


def _number(settings: EffectiveConfig, name: str, default: int) -> int:
    """Return a number of elements; DeepSpeed accepts 5e8 for one."""
    value = _zero(settings, name, default)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
