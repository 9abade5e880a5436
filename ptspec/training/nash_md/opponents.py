"""Opponents of the policy: the mixture with the reference, its moving average, or mixed weights.

An opponent samples token ids for prompts; it is independent of judges and rewards.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from torch import Tensor
from transformers import GenerationConfig

from ptspec.model.decoding.log_probabilities import LogProbabilities
from ptspec.model.decoding.loop import Choice, Prompts
from ptspec.training.nash_md.ema import MovingAverage
from ptspec.training.nash_md.reference import Reference, mixed_weights, second_model, switched_adapter
from ptspec.training.nash_md.sampler import sample


def reference_of(policy: Any, ref_model: Any | None) -> Reference:
    """Return the reference: `ref_model` if given, else the policy without its trained adapter."""
    return second_model(ref_model) if ref_model is not None else switched_adapter(policy)


@dataclass(frozen=True)
class Opponent:
    """One of the three opponents, over `policy` (a PeftModel, or the model itself)."""

    kind: str
    policy: Any
    reference: Reference
    average: MovingAverage | None
    config: GenerationConfig
    synced: bool

    def sample(self, prompts: Prompts, coef: float, choice: Choice) -> Tensor:
        """Return completions (rows, new tokens).

        `coef` is the reference's weight, `choice` samples tokens.
        """
        if self.kind == "mixture":
            return self._decode(prompts, coef, choice)
        with self.weights(coef):
            return self._decode(prompts, 0.0, choice)

    def sample_beside_policy(
        self,
        prompts: Prompts,
        mixed_from: int,
        coef: float,
        choice: Choice,
        recorder: LogProbabilities | None = None,
    ) -> Tensor:
        """Return the policy's completions, and from row `mixed_from` on the mixture's.

        Only for kind "mixture". `recorder` records the policy's log-probabilities.
        """
        return self._decode(prompts, coef, choice, mixed_from, recorder)

    def sample_reference(self, prompts: Prompts, choice: Choice) -> Tensor:
        """Return completions of the reference alone."""
        return self._decode(prompts, 1.0, choice)

    def weights(self, coef: float) -> AbstractContextManager[None]:
        """Return a context in which the policy has the opponent's weights; not for kind "mixture"."""
        if self.kind == "weight_mixture":
            return mixed_weights(self.policy, coef)
        return self.average.in_place() if self.average else nullcontext()

    def _decode(
        self,
        prompts: Prompts,
        coef: float,
        choice: Choice,
        mixed_from: int = 0,
        recorder: LogProbabilities | None = None,
    ) -> Tensor:
        is_adapter = isinstance(self.policy, PeftModel) and not self.synced
        model = (
            self.policy.get_base_model() if is_adapter else self.policy
        )  # for a sharded model use the root
        return sample(
            model,
            prompts,
            self.config,
            reference=self.reference,
            coef=coef,
            mixed_from=mixed_from,
            synced=self.synced,
            recorder=recorder,
            choice=choice,
            adapters=self.reference.adapters if self.kind == "mixture" else None,
        )
