"""Responses of one model to many prompts: greedy, or drawn at temperature 1 with given random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ptspec.evaluation.batching import batches, pad

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKENS = 8192


@dataclass(frozen=True)
class Response:
    """`ids` up to the end token, which is among them where `finished`; `text` has no special tokens."""

    text: str
    ids: tuple[int, ...]
    finished: bool


def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    draws: Sequence[Sequence[float] | None] = (),
    tokens: int = TOKENS,
    done: Callable[[int], None] = lambda count: None,
) -> list[Response]:
    """The continuation of each prompt, at most `max_new_tokens` long, with a KV cache.

    Greedy, or, where `draws` holds `max_new_tokens` uniform numbers for the prompt, drawn from the model's
    own distribution (temperature 1, no top-k or top-p): both kinds go in the same batches.

    The end tokens are the tokenizer's and those of the model's generation config. `tokens` bounds a
    batch, the new tokens included; `done` is told the number of prompts after each.
    """
    ends = end_tokens(model, tokenizer)
    config = generation_config(tokenizer, ends, max_new_tokens)
    responses: dict[int, Response] = {}
    for batch in batches([len(p) for p in prompts], tokens, extra=max_new_tokens):
        drawn = [draws[i] if draws else None for i in batch]
        new = _generate(model, [prompts[i] for i in batch], drawn, config)
        for index, ids in zip(batch, new, strict=True):
            responses[index] = _response(tokenizer, ids, ends)
        done(len(batch))
    return [responses[i] for i in range(len(prompts))]


def _generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[Sequence[float] | None],
    config: GenerationConfig,
) -> list[list[int]]:
    ids, mask = pad(prompts, config.pad_token_id, model.device, left=True)
    drawing = [Draws(draws, ids.shape[1], model.device)] if any(draws) else None
    with torch.no_grad():
        output = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=drawing
        )
    new: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return new


class Draws:
    """Leaves of some rows' scores only the token that their next random number falls on, so that the greedy
    choice is a draw from the model's distribution: the first token whose cumulative probability exceeds it.
    The same number gives the same token in any batch."""

    def __init__(self, draws: Sequence[Sequence[float] | None], start: int, device: torch.device) -> None:
        """`start`: the width of the prompts."""
        self.start = start
        self.rows = torch.tensor([i for i, one in enumerate(draws) if one], device=device)
        self.numbers = torch.tensor([list(one) for one in draws if one], dtype=torch.float64, device=device)

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` (batch, vocabulary) with one token left in each of the rows that are drawn."""
        cumulative = scores[self.rows].float().softmax(-1).cumsum(-1, dtype=torch.float64)
        number = self.numbers[:, ids.shape[1] - self.start, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, number, right=True).clamp(max=scores.shape[1] - 1)
        left = torch.full_like(scores[self.rows], -torch.inf).scatter_(1, token, 0.0)
        return scores.index_copy(0, self.rows, left)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that end a response."""
    given = getattr(model.generation_config, "eos_token_id", None)
    ends = [given] if isinstance(given, int) else list(given or [])
    return frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None)


def generation_config(
    tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], max_new_tokens: int, temperature: float = 0.0
) -> GenerationConfig:
    """Greedy, or the policy's own distribution at a `temperature`, and nothing else: a model's own sampling
    settings and penalties are not to weigh in."""
    from transformers import GenerationConfig

    pad_id = tokenizer.pad_token_id
    sampled = temperature > 0
    return GenerationConfig(
        do_sample=sampled,
        num_beams=1,
        temperature=temperature if sampled else 1.0,
        top_p=1.0,
        top_k=0 if sampled else 50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_length=0,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad_id if pad_id is not None else min(ends, default=0),
    )


def _response(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ends: frozenset[int]) -> Response:
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    kept = tuple(ids if end is None else ids[: end + 1])
    said = kept if end is None else kept[:-1]
    return Response(tokenizer.decode(said, skip_special_tokens=True), kept, end is not None)
