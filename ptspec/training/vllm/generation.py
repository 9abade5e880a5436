"""Completions by a generation server, where TRL's trainers call vLLM."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.generation_server.client import Completion, GenerationServer, Sampling
from ptspec.processes import current
from ptspec.training.vllm.adapter_sync import ServedAdapter, Write

SEEDS = 2**63
"""vLLM accepts seeds below it."""


class ServerGeneration:
    """Replaces TRL's `vllm_generation`: `sync_weights` before sampling from changed weights, `generate`.

    Each process requests its own rows. A row's seed depends on the stage's, the step, training or evaluation,
    the row's index over all processes and the generation's number in the step: a resumed stage samples the
    same, and so does one that is evaluated in between.
    """

    def __init__(
        self,
        server: GenerationServer,
        policy: ServedAdapter,
        write: Write,
        sampling: Sampling,
        seed: int,
        now: Callable[[], tuple[int, bool]],
        after_sync: Callable[[], None] = lambda: None,
    ) -> None:
        """Set up.

        `write` writes the present policy; `now` returns the trainer's step, and whether it trains or
        evaluates; `after_sync` is called when the server has the policy of that step.
        """
        self.server = server
        self.policy = policy
        self.sampling = sampling
        self.after_sync = after_sync
        self._write = write
        self._seed = seed
        self._now = now
        self._drawn = ((-1, True), 0)

    def sync_weights(self) -> None:
        """Send the present policy to the server."""
        self.policy.replace(self._write)
        self.after_sync()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        images: Any,
        num_generations: int,
        profiler: AbstractContextManager[Any] | None = None,
    ) -> tuple[Any, list[list[int]], list[list[list[float]]], None]:
        """Like TRL's: `prompts` holds a prompt once per generation; log-probabilities are lists of one.

        Raises `StageError` for images, and `Agreed` in every process if the server fails one.
        """
        if images is not None:
            raise StageError(
                Diagnostic("generation-server", "prompts with images are not sent to a generation server")
            )
        with profiler or nullcontext():
            found = self.sample(prompts, self.policy.name)
        token_ids = [list(one.token_ids) for one in found]
        return prompts, token_ids, [[[logp] for logp in one.logps] for one in found], None

    def sample(self, prompts: Sequence[Sequence[int]], name: str) -> list[Completion]:
        """Return a completion of each prompt by the adapter `name`."""
        found: list[Completion] = []
        told = None
        try:
            found = self.server.complete(prompts, name, self.sampling, self._seeds(len(prompts)))
        except StageError as error:
            told = error.diagnostics[0]
        current().agree(told)
        return found

    def _seeds(self, rows: int) -> list[int]:
        now = self._now()
        self._drawn = (now, self._drawn[1] + 1 if self._drawn[0] == now else 0)
        step, trains = now
        first, at = current().index * rows, f"{step}" if trains else f"{step}/evaluation"
        keys = (f"{self._seed}/{at}/{self._drawn[1]}/{first + row}" for row in range(rows))
        return [random.Random(key).randrange(SEEDS) for key in keys]


def sampling_of(trainer: Any, more: Mapping[str, Any]) -> Sampling:
    """Return the sampling parameters of `trainer`, with its own end tokens."""
    ends = tuple(trainer.eos_token_ids)
    return Sampling(
        max_tokens=trainer.max_completion_length,
        temperature=trainer.temperature,
        top_p=trainer.top_p,
        top_k=trainer.top_k,
        min_p=trainer.min_p or 0.0,
        repetition_penalty=trainer.repetition_penalty,
        stop_token_ids=ends,
        more={"ignore_eos": True, **more},
    )
