"""What the processes of a stage send in an optimizer step, by strategy.

DDP: gradients are all-reduced once per step. FSDP2: each pass gathers the weights for its forward and again
for its backward pass, the last pass of a step reduce-scatters the gradients. ZeRO-2 (and 1): each pass
reduces its gradients, the step gathers the new weights; ZeRO-3: each pass gathers the weights twice and
reduces its gradients (2 Ψ and 3 Ψ elements per pass, Rajbhandari et al. 2020, arXiv 1910.02054 §7). Gradients
are those of what is trained; frozen weights are sent only if sharded.

In a ring a process sends (N − 1)/N of a tensor that is gathered or reduced to shards, and twice that for an
all-reduce (Patarasu and Yuan 2009). Losses, norms and flags are a few bytes and not counted.
`benchmarks/sharding.py` compares with two real processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from ptspec.estimate.held import Holder
from ptspec.estimate.sharding import Engine, elements
from ptspec.recipe.batch_split import PASSES
from ptspec.recipe.effective_config import EffectiveConfig

DDP_BUCKET = 25 << 20
"""Bytes that torch's DDP sends at once (`bucket_cap_mb`)."""


class Kind(Enum):
    """The kind of a collective operation."""

    ALL_REDUCE = "all-reduce"
    ALL_GATHER = "all-gather"
    REDUCE_SCATTER = "reduce-scatter"


@dataclass(frozen=True)
class Collective:
    """`bytes` of the whole tensors of a step together; `messages`: the number of tensors."""

    kind: Kind
    what: str
    bytes: int
    messages: int

    def sent(self, processes: int) -> int:
        """Return the bytes that each process sends."""
        share = (processes - 1) / processes
        return round(self.bytes * share * (2 if self.kind is Kind.ALL_REDUCE else 1))

    def hops(self, processes: int) -> int:
        """Return the sequential hops of all messages of a step.

        Around the ring, or up and down a tree, which NCCL uses for an all-reduce if that is shorter.
        """
        ring = processes - 1
        if self.kind is Kind.ALL_REDUCE:
            ring = 2 * min(ring, math.ceil(math.log2(processes)))
        return self.messages * ring


@dataclass(frozen=True)
class Forwards:
    """Forward-only passes besides the policy's own.

    Through the `policy` or its disabled adapter, and through a separate `reference`.
    """

    policy: int = 0
    reference: int = 0

    @property
    def all(self) -> int:
        """Number of forward-only passes."""
        return self.policy + self.reference


def forwards(settings: EffectiveConfig) -> Forwards:
    """Return a stage's forward-only passes.

    Its reference's log-probabilities, and those of mismatched answers for KTO's estimate of the KL.
    """
    stage = settings.stage
    has_kl = settings.value("loss_type") in stage.method.loss.mismatched
    times = (1 + has_kl) if stage.holds_reference else 0
    if stage.adapter.use_lora:
        return Forwards(times + has_kl)
    return Forwards(int(has_kl), times)


def traffic(holder: Holder) -> tuple[Collective, ...]:
    """Return the collectives of a step; none for one process."""
    sharding = holder.sharding
    if sharding.processes == 1:
        return ()
    if sharding.engine is Engine.DDP or (sharding.stage == 0 and sharding.engine is Engine.ZERO):
        size = elements(holder.trained) * holder.trained_width
        return (Collective(Kind.ALL_REDUCE, "gradients", size, math.ceil(size / DDP_BUCKET)),)
    return _fsdp(holder) if sharding.engine is Engine.FSDP else _zero(holder)


def _fsdp(holder: Holder) -> tuple[Collective, ...]:
    sharding, units, width = holder.sharding, holder.units, holder.gathered_width
    besides, passes = forwards(holder.settings), _passes(holder)
    again = 1 if sharding.keeps_gathered else 2 + besides.policy
    resharded, kept = sharding.padded(units.resharded), sharding.padded(units.kept)
    reference = sharding.padded([tensor.shape for tensor in holder.shape.tensors.values()])
    gathered = again * resharded + kept + besides.reference * reference
    messages = passes * (again * (units.count - 1) + 1 + besides.reference)
    return (
        Collective(Kind.ALL_GATHER, "weights", passes * gathered * width, messages),
        Collective(Kind.REDUCE_SCATTER, "gradients", sharding.padded(holder.trained) * width, units.count),
    )


def _zero(holder: Holder) -> tuple[Collective, ...]:
    sharding, width, passes = holder.sharding, holder.gathered_width, _passes(holder)
    trained = sharding.padded(holder.trained) * width
    reduced = trained * (passes if sharding.stage >= 2 else 1)
    buckets = math.ceil(elements(holder.trained) / holder.bucket) * (passes if sharding.stage >= 2 else 1)
    if sharding.stage < 3:
        return (
            Collective(Kind.REDUCE_SCATTER, "gradients", reduced, buckets),
            Collective(Kind.ALL_GATHER, "weights that learned", trained, buckets),
        )
    besides = forwards(holder.settings)
    shapes = [tensor.shape for tensor in holder.shape.tensors.values()]
    if holder.adapter.attached is not None:
        shapes += holder.trained
    times = passes * (2 + besides.all)
    return (
        Collective(Kind.ALL_GATHER, "weights", times * sharding.padded(shapes) * width, times * len(shapes)),
        Collective(Kind.REDUCE_SCATTER, "gradients", reduced, buckets),
    )


def _passes(holder: Holder) -> int:
    return max(1, holder.settings.number(PASSES, 1))
