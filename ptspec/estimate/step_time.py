"""Time of an optimizer step on a known device, as a range.

Computing. Each weight takes 2 FLOP per token in a forward pass, 2 for the gradient of its input and 2 for its
own (Kaplan et al. 2020, arXiv 2001.08361 §2.1): 6 per weight that learns, 4 per frozen one under an adapter,
2 without a backward pass; gradient checkpointing repeats the forward pass, 2 more. Attention: 6 L h T per
token for causal masks (half of Chowdhery et al. 2022, arXiv 2204.02311, appendix B). Divided by the device's
peak times the share of it that training reaches: NVIDIA publishes for NeMo Automodel on H100s 402 of 989
TFLOP/s (8B LoRA on one, 12,473 tokens/s) and 212 (a mixture of experts on eight), 41 and 21 %. A pass takes
no less than reading its weights from the device's memory, an optimizer step no less than reading and writing
what it changes (the roofline of Williams et al. 2009).

Communication: bytes over the rate of the slowest link of the ring, of which between half and nine tenths is
reached, and NCCL's latency per message (`tuning.cc`, ring, simple protocol).

The range: from the higher share with communication hidden behind computing, to the lower one with nothing
hidden. Waiting for rows, sampling, evaluation and saving are not included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptspec.estimate.devices import Device
from ptspec.estimate.held import Holder
from ptspec.estimate.sharding import elements
from ptspec.estimate.traffic import Collective, forwards, traffic
from ptspec.recipe.batch_split import PASSES
from ptspec.recipe.shape import ModelShape

BASE_LATENCY = 8.4e-6
HOPS = {"link": 3.4e-6, "PCIe": 5.7e-6, "network": 14e-6}
"""Seconds per message and per hop, from NCCL's tables."""


@dataclass(frozen=True)
class Scenario:
    """`share` of the device's peak; `reached` of a link's rate; `hidden`.

    Communication overlaps computing.
    """

    share: float
    reached: float
    hidden: bool

    def step(self, work: StepWork) -> float:
        """Return the seconds of a step."""
        computing, sending = work.computing(self.share), work.sending(self.reached)
        return max(computing, sending) if self.hidden else computing + sending


FASTEST, SLOWEST = Scenario(0.41, 0.9, hidden=True), Scenario(0.21, 0.5, hidden=False)
BEST, WORST = Scenario(0.21, 0.9, hidden=True), Scenario(0.41, 0.5, hidden=False)
"""For step times; and for scaling, which slow computing and fast links favour."""


@dataclass(frozen=True)
class StepWork:
    """The work of one process in a step.

    `flops`: of its passes; `read`: bytes of weights read; `updated`: bytes that the optimizer reads and
    writes.
    """

    device: Device
    processes: int
    nodes: int
    flops: float
    read: float
    updated: float
    collectives: Sequence[Collective]

    def computing(self, share: float) -> float:
        """Return the seconds of computing at this share of the device's peak."""
        passes = max(self.flops / (self.device.peak * share), self.read / self.device.bandwidth)
        return passes + self.updated / self.device.bandwidth

    def sending(self, reached: float) -> float:
        """Return the seconds of communication at this share of the links' rates."""
        rate = self.device.link
        if self.nodes > 1:
            rate = min(rate, self.device.network)
        return self.sent / (rate * reached) + self._latency()

    @property
    def sent(self) -> int:
        """Bytes that each process sends; each node sends as many over the network."""
        return sum(one.sent(self.processes) for one in self.collectives)

    def _latency(self) -> float:
        hop = HOPS["link"] if self.device.is_switched else HOPS["PCIe"]
        if self.nodes > 1:
            over = self.nodes / self.processes
            hop = over * HOPS["network"] + (1 - over) * hop
        messages = sum(one.messages for one in self.collectives)
        return messages * BASE_LATENCY + hop * sum(one.hops(self.processes) for one in self.collectives)


def step_work(holder: Holder, device: Device, nodes: int, tokens: float, length: float) -> StepWork:
    """Return the work of a step of `tokens` tokens in this process, in sequences of `length`."""
    settings, sharding = holder.settings, holder.sharding
    whole = holder.adapter.attached is None
    besides = forwards(settings).all
    repeated = bool(settings.value("gradient_checkpointing"))
    matrices = used_parameters(holder.shape)
    attention: float = 2 * holder.shape.layers * holder.shape.hidden * length
    own = 0 if holder.adapter.attached is None else 6 * holder.adapter.attached.parameters
    backward = 4 if whole else 2
    flops: float = (2 * (1 + besides + repeated) + backward) * matrices + own
    flops += (1 + besides + repeated + 2) * attention
    passes = max(1, settings.number(PASSES, 1))
    width = min(holder.gathered_width, 4)
    read = (
        passes * (2 + besides + repeated) * elements(t.shape for t in holder.shape.tensors.values()) * width
    )
    kept = elements(sharding.part(holder.trained) if sharding.optimizer else holder.trained)
    # Gradient and weight are read, the weight is written, two states of 4 bytes are read and written.
    updated = kept * (3 * holder.trained_width + 2 * 2 * 4)
    return StepWork(device, sharding.processes, nodes, tokens * flops, read, updated, traffic(holder))


def used_parameters(shape: ModelShape) -> int:
    """Return the weights multiplied per token.

    Without looked-up embeddings, and of experts only those a token is routed to.
    """
    chosen = shape.number("num_experts_per_tok", "num_experts_per_token", "top_k_experts")
    total: int = shape.vocabulary * shape.hidden
    for name, tensor in shape.tensors.items():
        if len(tensor.shape) == 3 and chosen:
            total += tensor.elements * min(chosen, tensor.shape[0]) // tensor.shape[0]
        elif name.removesuffix(".weight") in shape.linear:
            total += tensor.elements
    return total
