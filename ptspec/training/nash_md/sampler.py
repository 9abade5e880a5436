"""Sampling from a geometric mixture of two models, token by token. Knows no adapters, judges or trainer.

    π_c(y_t | x, y_<t)  ∝  π(y_t | x, y_<t)^(1−c) · π_ref(y_t | x, y_<t)^c

This is the decoding loop of `generate()` (given as its `custom_generate`), so that every field of the
generation config means what it means there; temperature, top-k, top-p and the rest act on the mixture. Each
model has its own KV cache and sees each token once. A row that has ended is taken out of the batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from ptspec.training.nash_md.reference import Reference


@torch.no_grad()
def sample(
    policy: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    config: GenerationConfig,
    *,
    reference: Reference | None = None,
    coef: float = 0.0,
    synced: bool = False,
) -> Tensor:
    """Completions (rows, new tokens) of the left-padded prompts (rows, length), padded after their end.

    `policy` is the model itself (of a PeftModel: `get_base_model()`), `coef` is c. At c = 0 the reference is
    never run, at c = 1 the policy is not. `synced` keeps the processes of a sharded model in step: each runs
    until all have ended. The random numbers are torch's global ones, one draw a token over the rows that go on.
    """
    with evaluating(policy), evaluating(reference.model) if reference else nullcontext():
        sequences: Tensor = policy.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            generation_config=config,
            custom_generate=MixtureLoop(reference, coef, synced),
        )
    return sequences[:, input_ids.shape[1] :]


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


class MixtureLoop:
    """A decoding loop with the signature that `generate(custom_generate=…)` calls."""

    def __init__(self, reference: Reference | None, coef: float, synced: bool) -> None:
        self.reference = reference
        self.coef = coef if reference else 0.0
        self.synced = synced

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
        readers = self._readers(model, inputs)
        rows, length = input_ids.shape
        sequences = input_ids.new_full(
            (rows, generation_config.max_length), generation_config.pad_token_id or 0
        )
        sequences[:, :length] = input_ids
        going = torch.arange(rows, device=input_ids.device)
        new, over = input_ids, False
        while self._goes_on(over, input_ids.device):
            logits = self._mixed([reader.logits(new) for reader in readers])
            if over:
                continue
            new = choose(logits_processor(sequences[going, :length], logits), generation_config.do_sample)
            sequences[going, length] = new.squeeze(1)
            length += 1
            ended = stopping_criteria(sequences[going, :length], None)
            over = bool(ended.all())
            if not over and ended.any():
                going, new = going[~ended], new[~ended]
                for reader in readers:
                    reader.keep(~ended)
        return sequences[:, :length]

    def _readers(self, policy: Any, inputs: dict[str, Any]) -> list[_Reader]:
        readers = []
        if self.coef < 1:
            readers.append(_Reader(policy, nullcontext, dict(inputs)))
        if self.reference and self.coef > 0:
            # Both caches start as the empty one that generate() made after the config.
            own = {**inputs, "past_key_values": copy.deepcopy(inputs["past_key_values"])}
            readers.append(_Reader(self.reference.model, self.reference.enter, own))
        return readers

    def _mixed(self, logits: list[Tensor]) -> Tensor:
        # The models' normalisers are constants over the vocabulary and cancel in the mixture's own softmax.
        return logits[0] if len(logits) == 1 else torch.lerp(logits[0], logits[1], self.coef)

    def _goes_on(self, over: bool, device: torch.device) -> bool:
        if not self.synced:
            return not over
        others = torch.tensor(not over, device=device, dtype=torch.int)
        torch.distributed.all_reduce(others)
        return bool(others.item())


class _Reader:
    """One model reading the growing rows: its KV cache, and where each row's next token stands."""

    def __init__(
        self, model: Any, enter: Callable[[], AbstractContextManager[None]], inputs: dict[str, Any]
    ) -> None:
        self.model = model
        self.enter = enter
        self.cache = inputs.pop("past_key_values")
        self.mask: Tensor | None = inputs.pop("attention_mask", None)
        self.positions: Tensor | None = inputs.pop("position_ids", None)
        self.fixed = {name: value for name, value in inputs.items() if value is not None}

    def logits(self, new: Tensor) -> Tensor:
        """Reads `new` (rows, tokens): float32 logits of the next token (rows, vocabulary)."""
        places = {} if self.positions is None else {"position_ids": self.positions}
        with self.enter():
            outputs = self.model(
                input_ids=new, attention_mask=self.mask, past_key_values=self.cache, **places, **self.fixed
            )
        self._advance()
        # A copy: a view would keep the logits of the whole prompt alive.
        logits: Tensor = outputs.logits[:, -1].to(torch.float32, copy=True)
        return logits

    def _advance(self) -> None:
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        if self.positions is not None:
            self.positions = self.positions[:, -1:] + 1

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows (a mask over the present ones) alone."""
        self.cache.batch_select_indices(rows.nonzero().squeeze(1))
        self.mask = self.mask[rows] if self.mask is not None else None
        self.positions = self.positions[rows] if self.positions is not None else None


def choose(scores: Tensor, do_sample: bool) -> Tensor:
    """The next token of each row, (rows, 1)."""
    if do_sample:
        return torch.multinomial(scores.softmax(dim=-1), 1)
    return scores.argmax(dim=-1, keepdim=True)
