"""Sample from a geometric mixture of two models, token by token.

    π_c(y_t | x, y_<t)  ∝  π(y_t | x, y_<t)^(1−c) · π_ref(y_t | x, y_<t)^c

Temperature, top-k, top-p and the rest of the generation config act on the mixture. Each model has its own KV
cache and reads each token once; equal prompts are read once. A finished row leaves the batch.
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
    recorder: LogProbabilities | None = None,
    choice: Choice = greedy,
) -> Tensor:
    """Return completions (rows, new tokens), padded after their end.

    `policy` is the model itself (of a PeftModel: `get_base_model()`), `coef` is c. Rows before `mixed_from`
    are sampled from the policy, in one batch with the mixed ones, which is cheaper than two. The reference
    reads only mixed rows; at c = 0 it is not run, and at c = 1 (`mixed_from` 0) the policy is not. `synced`
    keeps the processes of a sharded model in step: each runs until all have ended. `adapters`: those of the
    policy and of its reference (None: without one) if `policy` is plain LoRA: both then run in one pass, with
    equal scores. `recorder` records the log-probabilities. `choice` samples the tokens.
    """
    rows = len(prompts.ids)
    mixed = rows - mixed_from if reference is not None and coef > 0 else 0
    alone = coef == 1 and mixed == rows
    if adapters is not None and not synced and not alone:
        by = AdapterRows(*adapters)
        loop = DecodingLoop(
            lambda model, inputs: side_by_side(model, by, inputs, coef=coef, rows=rows, mixed=mixed),
            choice,
            recorder=recorder,
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
        recorder=recorder,
    )
    with evaluating(reference.model) if reference is not None else nullcontext():
        return decoded(policy, prompts, config, loop)
