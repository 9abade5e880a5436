"""What the processes of a stage send one another in an optimizer step, by strategy.

DDP: gradients are all-reduced once a step. FSDP2: each pass gathers the weights for its forward and again for
its backward pass, the last pass of a step reduce-scatters the gradients. ZeRO-2 (and 1): each pass reduces
its gradients, the step gathers the new weights; ZeRO-3: each pass gathers the weights twice and reduces its
gradients (2 Ψ and 3 Ψ elements of one pass, Rajbhandari et al. 2020, arXiv 1910.02054 §7). Gradients are
those of what is trained; of frozen weights only what is sharded is sent.

What a process sends, in a ring: (N − 1)/N of the tensor where it is gathered or reduced to parts, twice that
where it is all-reduced (Patarasu and Yuan 2009). Losses, norms and flags are some bytes and not counted.
`benchmarks/sharding.py` compares with what two processes send.
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
    ALL_REDUCE = "all-reduce"
    ALL_GATHER = "all-gather"
    REDUCE_SCATTER = "reduce-scatter"


@dataclass(frozen=True)
class Collective:
    """`bytes`: of the whole tensors, those of a step together; `messages`: how many tensors these are."""

    kind: Kind
    what: str
    bytes: int
    messages: int

    def sent(self, processes: int) -> int:
        """Bytes that each process sends."""
        share = (processes - 1) / processes
        return round(self.bytes * share * (2 if self.kind is Kind.ALL_REDUCE else 1))

    def hops(self, processes: int) -> int:
        """How often something is handed on, one after the other, in all messages of a step: round the ring,
        or up and down a tree, which NCCL takes for an all-reduce where that is shorter."""
        ring = processes - 1
        if self.kind is Kind.ALL_REDUCE:
            ring = 2 * min(ring, math.ceil(math.log2(processes)))
        return self.messages * ring


@dataclass(frozen=True)
class Forwards:
    """Passes through a model without a backward pass, beside the policy's own: through the `policy` or its
    adapter switched off, and through a `reference` of its own."""

    policy: int = 0
    reference: int = 0

    @property
    def all(self) -> int:
        return self.policy + self.reference


def forwards(settings: EffectiveConfig) -> Forwards:
    """What a stage computes besides: its reference's log-probabilities, and those of mismatched answers, for
    KTO's estimate of the KL."""
    stage = settings.stage
    has_kl = settings.value("loss_type") in stage.method.loss.mismatched
    times = (1 + has_kl) if stage.holds_reference else 0
    if stage.adapter.use_lora:
        return Forwards(times + has_kl)
    return Forwards(int(has_kl), times)


def traffic(holder: Holder) -> tuple[Collective, ...]:
    """The collectives of a step; none of one process."""
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
