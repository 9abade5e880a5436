"""Greedy responses of one model to many prompts."""

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
    tokens: int = TOKENS,
    done: Callable[[int], None] = lambda count: None,
) -> list[Response]:
    """The greedy continuation of each prompt, at most `max_new_tokens` long, with a KV cache.

    The end tokens are the tokenizer's and those of the model's generation config. `tokens` bounds a
    batch, the new tokens included; `done` is told the number of prompts after each.
    """
    ends = end_tokens(model, tokenizer)
    config = _greedy(tokenizer, ends, max_new_tokens)
    responses: dict[int, Response] = {}
    for batch in batches([len(p) for p in prompts], tokens, extra=max_new_tokens):
        new = _generate(model, [prompts[i] for i in batch], config)
        for index, ids in zip(batch, new, strict=True):
            responses[index] = _response(tokenizer, ids, ends)
        done(len(batch))
    return [responses[i] for i in range(len(prompts))]


def _generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], config: GenerationConfig
) -> list[list[int]]:
    ids, mask = pad(prompts, config.pad_token_id, model.device, left=True)
    with torch.no_grad():
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    new: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return new


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids that end a response."""
    given = getattr(model.generation_config, "eos_token_id", None)
    ends = [given] if isinstance(given, int) else list(given or [])
    return frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None)


def _greedy(
    tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], max_new_tokens: int
) -> GenerationConfig:
    """Greedy and nothing else: a model's own sampling settings and penalties are not to weigh in."""
    from transformers import GenerationConfig

    pad_id = tokenizer.pad_token_id
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
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
