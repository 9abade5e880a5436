"""What to compute for a set of rows, as token ids. Uses a tokenizer, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.evaluation.encoding import Encoded, encode_completions, encode_prompt
from ptspec.metrics import RAW_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LIKELIHOOD = frozenset({"loss", "perplexity", "bits_per_byte"})
PREFERENCE = frozenset({*RAW_NAMES, *RAW_NAMES.values()})


@dataclass(frozen=True)
class Work:
    """What to compute, by row index.

    `texts` holds each different sequence once: the expected answer is often the chosen one.
    """

    expected: Mapping[int, Encoded]
    pairs: Mapping[int, tuple[Encoded, Encoded]]
    prompts: Mapping[int, tuple[int, ...]]
    texts: tuple[Encoded, ...]
    shortened: int


def prepare(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[EvaluationRow],
    wanted: frozenset[str],
    context: int | None,
    max_new_tokens: int,
) -> Work:
    """Encode what `wanted` needs of `rows`; sequences beyond `context` tokens lose their first ones."""
    expected: dict[int, Encoded] = {}
    pairs: dict[int, tuple[Encoded, Encoded]] = {}
    prompts: dict[int, tuple[int, ...]] = {}
    for i, row in enumerate(rows):
        if wanted & LIKELIHOOD and row.expected is not None:
            (expected[i],) = encode_completions(tokenizer, row.prompt, (row.expected,), row.context)
        if wanted & PREFERENCE and row.pair is not None:
            both = (row.pair.chosen, row.pair.rejected)
            chosen, rejected = encode_completions(tokenizer, row.pair.prompt, both, row.context)
            pairs[i] = (chosen, rejected)
        if wanted - LIKELIHOOD - PREFERENCE and row.prompt:
            prompts[i] = encode_prompt(tokenizer, row.prompt, row.context)
    return _fitted(expected, pairs, prompts, context, max_new_tokens)


def _fitted(
    expected: Mapping[int, Encoded],
    pairs: Mapping[int, tuple[Encoded, Encoded]],
    prompts: Mapping[int, tuple[int, ...]],
    context: int | None,
    max_new_tokens: int,
) -> Work:
    """Return the work with sequences truncated at the start to the model's context."""
    limit = context or 2**31
    room = max(1, limit - max_new_tokens)
    longest = {i: len(sequence.ids) for i, sequence in expected.items()}
    for i, (chosen, rejected) in pairs.items():
        longest[i] = max(longest.get(i, 0), len(chosen.ids), len(rejected.ids))
    cut = {i for i, length in longest.items() if length > limit}
    cut |= {i for i, ids in prompts.items() if len(ids) > room}
    expected = {i: sequence.last(limit) for i, sequence in expected.items()}
    pairs = {i: (chosen.last(limit), rejected.last(limit)) for i, (chosen, rejected) in pairs.items()}
    texts = dict.fromkeys([*expected.values(), *(side for pair in pairs.values() for side in pair)])
    return Work(expected, pairs, {i: ids[-room:] for i, ids in prompts.items()}, tuple(texts), len(cut))
