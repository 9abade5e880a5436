"""Nash-MD's opponents on a server, as adapters: the policy's average, or its mixture with the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptspec.generation_server.client import GenerationServer
from ptspec.model import low_rank
from ptspec.model.adapters import ADAPTER
from ptspec.model.base import Base
from ptspec.model.handover import Policy
from ptspec.model.save import save_sum
from ptspec.training.nash_md.opponents import Opponent
from ptspec.training.nash_md.reference import REFERENCE
from ptspec.training.vllm.adapter_sync import ServedAdapter
from ptspec.training.vllm.generation import ServerGeneration


class ServedOpponent:
    """An opponent of kind "ema" or "weight_mixture", served beside the policy."""

    def __init__(self, server: GenerationServer, name: str, folder: Path, policy: Policy, base: Base) -> None:
        self._served = ServedAdapter(server, name, folder)
        self._policy = policy
        self._base = base

    def sample(
        self, generation: ServerGeneration, opponent: Opponent, prompts: list[list[int]], coef: float
    ) -> list[list[int]]:
        """Return a completion of each prompt by the present `opponent`; `coef` is the reference's weight."""
        self._served.replace(lambda folder: self._write(opponent, coef, folder))
        return [list(one.token_ids) for one in generation.sample(prompts, self._served.name)]

    def remove(self) -> None:
        """Stop serving it."""
        self._served.remove()

    def _write(self, opponent: Opponent, coef: float, folder: Path) -> None:
        model: Any = opponent.policy
        with opponent.weights(coef):
            parts = low_rank.taken(model)
            if opponent.kind == "weight_mixture" and REFERENCE in model.peft_config:
                parts = low_rank.total(parts, low_rank.taken(model, REFERENCE))
        if self._policy.merged is not None:
            parts = low_rank.total(self._policy.merged, parts)
        save_sum(parts, model.peft_config[ADAPTER], self._base, folder)
