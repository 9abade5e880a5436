"""Sampling from a geometric mixture of two models, token by token. Knows no adapters, judges or trainer.

    π_c(y_t | x, y_<t)  ∝  π(y_t | x, y_<t)^(1−c) · π_ref(y_t | x, y_<t)^c

This is the decoding loop of `generate()` (given as its `custom_generate`), so that every field of the
generation config means what it means there; temperature, top-k, top-p and the rest act on the mixture. Each
model has its own KV cache and sees each token once. A row that has ended is taken out of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from ptspec.training.nash_md.readers import readers_of
from ptspec.training.nash_md.reference import Reference


@dataclass(frozen=True)
class Prompts:
    """Left-padded: `ids` and `mask` are (rows, length)."""

    ids: Tensor
    mask: Tensor


def sample(
    policy: Any,
    prompts: Prompts,
    config: GenerationConfig,
    *,
    reference: Reference | None = None,
    coef: float = 0.0,
    mixed_from: int = 0,
    synced: bool = False,
) -> Tensor:
    """Completions (rows, new tokens), padded after their end.

    `policy` is the model itself (of a PeftModel: `get_base_model()`), `coef` is c. The rows before
    `mixed_from` are the policy's own: in one batch with the mixed ones they cost less than in a batch of
    their own. The reference reads the mixed rows alone; at c = 0 it is never run, and at c = 1 (`mixed_from`
    0) the policy is not. `synced` keeps the processes of a sharded model in step: each runs until all have
    ended. The random numbers are torch's global ones, one draw a token over the rows that go on.
    """
    loop = MixtureLoop(reference if coef > 0 else None, coef, mixed_from, synced)
    with torch.no_grad(), evaluating(policy), evaluating(reference.model) if reference else nullcontext():
        sequences: Tensor = policy.generate(
            input_ids=prompts.ids,
            attention_mask=prompts.mask,
            generation_config=config,
            custom_generate=loop,
        )
    return sequences[:, prompts.ids.shape[1] :]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode; every module gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass(frozen=True)
class MixtureLoop:
    """A decoding loop with the signature that `generate(custom_generate=…)` calls."""

    reference: Reference | None
    coef: float
    mixed_from: int
    synced: bool

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **inputs: Any,
    ) -> Tensor:
        """All rows of `input_ids` (rows, length) with their new tokens: (rows, length + new tokens)."""
        rows, length = input_ids.shape
        readers = readers_of(
            model,
            self.reference,
            inputs,
            coef=self.coef,
            rows=rows,
            mixed=rows - self.mixed_from,
            synced=self.synced,
        )
        pad = generation_config.pad_token_id or 0
        sequences = input_ids.new_full((rows, generation_config.max_length), pad)
        sequences[:, :length] = input_ids
        going = torch.arange(rows, device=input_ids.device)
        new, over = input_ids, False
        while self._goes_on(over, input_ids.device):
            logits = readers.logits(new)
            if over:
                continue
            new = choose(logits_processor(sequences[going, :length], logits), generation_config.do_sample)
            sequences[going, length] = new.squeeze(1)
            length += 1
            ended = stopping_criteria(sequences[going, :length], None)
            over = bool(ended.all())
            if not over and ended.any():
                going, new = going[~ended], new[~ended]
                readers.keep(~ended)
        return sequences[:, :length]

    def _goes_on(self, over: bool, device: torch.device) -> bool:
        if not self.synced:
            return not over
        going = torch.tensor(int(not over), device=device)
        torch.distributed.all_reduce(going)
        return bool(going.item())


def choose(scores: Tensor, do_sample: bool) -> Tensor:
    """The next token of each row, (rows, 1)."""
    if do_sample:
        return torch.multinomial(scores.softmax(dim=-1), 1)
    return scores.argmax(dim=-1, keepdim=True)
