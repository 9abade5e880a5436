"""Sampling from a geometric mixture of two models, token by token. Knows no judges and no trainer.

    π_c(y_t | x, y_<t)  ∝  π(y_t | x, y_<t)^(1−c) · π_ref(y_t | x, y_<t)^c

Temperature, top-k, top-p and the rest of the generation config act on the mixture. Each model has its own KV
cache and sees each token once; equal prompts are read once. A row that has ended is taken out of the batch.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from ptspec.model.decoding.adapter_rows import AdapterRows, NotByRowsError, by_rows
from ptspec.model.decoding.log_probabilities import LogProbabilities
from ptspec.model.decoding.loop import Choice, DecodingLoop, Prompts, decoded, evaluating, greedy
from ptspec.training.nash_md.readers import readers_of, side_by_side
from ptspec.training.nash_md.reference import Reference


def sample(
    policy: Any,
    prompts: Prompts,
    config: GenerationConfig,
    *,
    reference: Reference | None = None,
    coef: float = 0.0,
    mixed_from: int = 0,
    synced: bool = False,
    adapters: tuple[str, str | None] | None = None,
    heard: LogProbabilities | None = None,
    choice: Choice = greedy,
) -> Tensor:
    """Completions (rows, new tokens), padded after their end.

    `policy` is the model itself (of a PeftModel: `get_base_model()`), `coef` is c. The rows before
    `mixed_from` are the policy's own: in one batch with the mixed ones they cost less than in a batch of
    their own. The reference reads the mixed rows alone; at c = 0 it is never run, and at c = 1 (`mixed_from`
    0) the policy is not. `synced` keeps the processes of a sharded model in step: each runs until all have
    ended. `adapters` are those of the policy and of its reference (None: without one) where `policy` is plain
    LoRA: both then read in one pass, to the same scores. `heard` takes the log-probabilities down. `choice`
    takes the tokens by their scores.
    """
    rows = len(prompts.ids)
    mixed = rows - mixed_from if reference is not None and coef > 0 else 0
    alone = coef == 1 and mixed == rows
    if adapters is not None and not synced and not alone:
        by = AdapterRows(*adapters)
        loop = DecodingLoop(
            lambda model, inputs: side_by_side(model, by, inputs, coef=coef, rows=rows, mixed=mixed),
            choice,
            heard=heard,
        )
        try:
            with by_rows(policy, by):
                return decoded(policy, prompts, config, loop)
        except NotByRowsError:
            pass  # at the first pass, before anything is drawn
    kept = reference if coef > 0 else None
    loop = DecodingLoop(
        lambda model, inputs: readers_of(
            model, kept, inputs, coef=coef, rows=rows, mixed=rows - mixed_from, synced=synced
        ),
        choice,
        synced=synced,
        heard=heard,
    )
    with evaluating(reference.model) if reference is not None else nullcontext():
        return decoded(policy, prompts, config, loop)
