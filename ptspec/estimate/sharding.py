"""How much of a model each of several processes holds, by strategy.

DDP: all of it (Li et al. 2020, arXiv 2006.15704). FSDP2: a tensor's rows divided by the number of processes,
rounded up (torch 2.13, `FSDPParam._init_sharded_param`), so that of a tensor with fewer rows than processes
some hold a row and some none. ZeRO: an equal share of all elements (Rajbhandari et al. 2020, arXiv
1910.02054): stage 1 of the optimizer states, 2 also of the gradients, 3 also of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ptspec.recipe.plan import ComputeSpec

Shapes = list[tuple[int, ...]]


class Engine(Enum):
    """The library that distributes a stage."""

    DDP = "ddp"
    FSDP = "fsdp"
    ZERO = "deepspeed"


@dataclass(frozen=True)
class Sharding:
    """How processes share a model; `stage`: of ZeRO, 0 to 3.

    `keeps_gathered`: FSDP keeps weights from the forward to the backward pass. `on_host`: what ZeRO-Offload
    holds in host memory: "optimizer", "param".
    """

    engine: Engine = Engine.DDP
    processes: int = 1
    stage: int = 0
    keeps_gathered: bool = False
    on_host: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The strategy in words: "ddp", "fsdp", "ZeRO-3"."""
        return self.engine.value if self.engine is not Engine.ZERO else f"ZeRO-{self.stage}"

    @property
    def weights(self) -> bool:
        """Whether weights are sharded."""
        return self.engine is Engine.FSDP or self.stage == 3

    @property
    def gradients(self) -> bool:
        """Whether gradients are sharded."""
        return self.engine is Engine.FSDP or self.stage >= 2

    @property
    def optimizer(self) -> bool:
        """Whether optimizer states are sharded."""
        return self.engine is Engine.FSDP or self.stage >= 1

    def part(self, shapes: Iterable[tuple[int, ...]]) -> Shapes:
        """Return what the process with the largest share holds of tensors of these shapes."""
        if self.engine is Engine.FSDP:
            return [(math.ceil(shape[0] / self.processes), *shape[1:]) for shape in shapes if shape]
        return [(math.ceil(elements(shapes) / self.processes),)]

    def padded(self, shapes: Iterable[tuple[int, ...]]) -> int:
        """Return the elements sent to gather these tensors: all shards, padded to equal size."""
        return elements(self.part(shapes)) * self.processes


def sharding_of(compute: ComputeSpec) -> Sharding:
    """Return how the processes of `compute` share a model; a single process holds it all."""
    if compute.world == 1:
        return Sharding()
    engine = Engine(compute.engine or Engine.DDP.value)
    if engine is Engine.FSDP:
        keeps = (compute.fsdp or {}).get("reshard_after_forward") is False
        return Sharding(engine, compute.world, keeps_gathered=keeps)
    if engine is Engine.ZERO:
        stage = compute.zero_stage or 0
        zero = (compute.deepspeed or {}).get("zero_optimization", {})
        return Sharding(engine, compute.world, stage, on_host=tuple(_offloaded(zero, stage)))
    return Sharding(engine, compute.world)


def _offloaded(zero: Mapping[str, Any], stage: int) -> Iterable[str]:
    for part, least in (("optimizer", 1), ("param", 3)):
        given = zero.get(f"offload_{part}")
        if stage >= least and isinstance(given, Mapping) and given.get("device", "cpu") != "none":
            yield part


def elements(shapes: Iterable[tuple[int, ...]]) -> int:
    """Return the number of elements of tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes)
