"""A decoding loop for `generate(custom_generate=…)` in which finished rows leave the batch.

Every field of the generation config keeps its meaning: `generate()` prepares the caches, the logits
processors and the stopping criteria.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList


@dataclass(frozen=True)
class Prompts:
    """Left-padded prompts: `ids` and `mask` are (rows, length)."""

    ids: Tensor
    mask: Tensor


class Reading(Protocol):
    """A model that reads the unfinished rows."""

    def logits(self, new: Tensor) -> Tensor:
        """Read `new` (rows, tokens) and return float32 next-token logits (rows, vocabulary)."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows (a mask over the present ones)."""
        ...


Choice = Callable[[Tensor, Tensor, int], Tensor]
"""Returns the next token of each unfinished row, (rows,), from its scores (rows, vocabulary), its index among
all rows (rows,), and the number of all rows."""


@dataclass(frozen=True)
class DecodingLoop:
    """A decoding loop with the signature that `generate(custom_generate=…)` calls.

    `reading` makes the reader from the model and the inputs that `generate()` prepared; `choice` samples
    tokens. `recorder` receives logits, tokens, and unfinished rows. `synced` keeps the processes of
    a sharded model in step: each runs until all have ended.
    """

    reading: Callable[[Any, dict[str, Any]], Reading]
    choice: Choice
    synced: bool = False
    recorder: Callable[[Tensor, Tensor, Tensor], None] | None = None

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **inputs: Any,
    ) -> Tensor:
        """Return `input_ids` (rows, length) with the new tokens: (rows, length + new tokens)."""
        rows, length = input_ids.shape
        reading = self.reading(model, inputs)
        pad = generation_config.pad_token_id or 0
        sequences = input_ids.new_full((rows, generation_config.max_length), pad)
        sequences[:, :length] = input_ids
        going = torch.arange(rows, device=input_ids.device)
        new, over = input_ids, False
        while self._goes_on(over, input_ids.device):
            logits = reading.logits(new)
            if over:
                continue
            new = self.choice(logits_processor(sequences[going, :length], logits), going, rows)[:, None]
            sequences[going, length] = new.squeeze(1)
            if self.recorder is not None:
                self.recorder(logits, new, going)
            length += 1
            ended = stopping_criteria(sequences[going, :length], None)
            over = bool(ended.all())
            if not over and ended.any():
                going, new = going[~ended], new[~ended]
                reading.keep(~ended)
        return sequences[:, :length]

    def _goes_on(self, over: bool, device: torch.device) -> bool:
        if not self.synced:
            return not over
        going = torch.tensor(int(not over), device=device)
        torch.distributed.all_reduce(going)
        return bool(going.item())


def decoded(
    model: Any, prompts: Prompts, config: GenerationConfig, loop: DecodingLoop, cache: Any = None
) -> Tensor:
    """Return the new tokens (rows, new tokens), padded after their end.

    `model` is the model itself (of a PeftModel: `get_base_model()`); `cache` may hold all tokens of the
    prompts but the last.
    """
    with torch.no_grad(), evaluating(model):
        sequences: Tensor = model.generate(
            input_ids=prompts.ids,
            attention_mask=prompts.mask,
            generation_config=config,
            custom_generate=loop,
            past_key_values=cache,
        )
    return sequences[:, prompts.ids.shape[1] :]


def greedy(scores: Tensor, going: Tensor, rows: int) -> Tensor:
    """Return the most probable token of each row, (rows,)."""
    return scores.argmax(dim=-1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` in evaluation mode within the context; restore each module's mode afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def decodes_by_rows(model: Any, config: GenerationConfig) -> bool:
    """Return whether rows may leave the batch.

    True for a text decoder with a growing key-value cache, without beam search or another kind of cache.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    asked = (config.num_beams or 1, config.cache_implementation, config.prefill_chunk_size)
    return (
        asked == (1, None, None)
        and config.use_cache is not False
        and not getattr(inner, "_is_stateful", False)
        and not inner.config.is_encoder_decoder
    )
