"""The decoding loop of `generate()`, given as its `custom_generate`: rows that have ended leave the batch.

Every field of the generation config means what it means there: `generate()` prepares the caches, the logits
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
    """Left-padded: `ids` and `mask` are (rows, length)."""

    ids: Tensor
    mask: Tensor


class Reading(Protocol):
    """What reads the rows that go on."""

    def logits(self, new: Tensor) -> Tensor:
        """Reads `new` (rows, tokens): float32 logits of the next token (rows, vocabulary)."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows (a mask over the present ones) alone."""
        ...


Choice = Callable[[Tensor, Tensor, int], Tensor]
"""The next token of each row that goes on, (rows,), by its scores (rows, vocabulary), its place among all
rows (rows,), and the number of all rows."""


@dataclass(frozen=True)
class DecodingLoop:
    """A decoding loop with the signature that `generate(custom_generate=…)` calls.

    `reading` makes what reads the rows, of the model and of the inputs that `generate()` prepared; `choice`
    takes the tokens. `heard` is given each token's logits, the tokens that were chosen, and which rows go on.
    `synced` keeps the processes of a sharded model in step: each runs until all have ended.
    """

    reading: Callable[[Any, dict[str, Any]], Reading]
    choice: Choice
    synced: bool = False
    heard: Callable[[Tensor, Tensor, Tensor], None] | None = None

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
            if self.heard is not None:
                self.heard(logits, new, going)
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
    """New tokens (rows, new tokens), padded after their end.

    `model` is the model itself (of a PeftModel: `get_base_model()`); `cache` may hold all tokens of the
    prompts but the last."""
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
    """The likeliest token of each row, (rows,)."""
    return scores.argmax(dim=-1)


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


def decodes_by_rows(model: Any, config: GenerationConfig) -> bool:
    """Whether rows may leave in the middle: a decoder of texts with a growing cache of keys and values, and
    no search, no cache of another kind."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    asked = (config.num_beams or 1, config.cache_implementation, config.prefill_chunk_size)
    return (
        asked == (1, None, None)
        and config.use_cache is not False
        and not getattr(inner, "_is_stateful", False)
        and not inner.config.is_encoder_decoder
    )
