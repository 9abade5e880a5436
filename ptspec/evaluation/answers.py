"""Greedy and sampled answers to held-out prompts, and the KL of the sampled ones to the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ptspec.evaluation.choice import chosen, draws
from ptspec.evaluation.divergence import divergences
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.generation import Response, end_tokens, respond, response_of
from ptspec.evaluation.progress import Progress, counting
from ptspec.evaluation.thought_tags import thoughts_of
from ptspec.processes import current

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ptspec.evaluation.served import Served

SAMPLED = frozenset({"sampled_accuracy", "kl"})


@dataclass(frozen=True)
class Answers:
    """Answers by row index. `kl` is Σ_t KL(π‖base) over the sampled response, in nats."""

    greedy: Mapping[int, Response] = field(default_factory=dict)
    drawn: Mapping[int, Response] = field(default_factory=dict)
    kl: Mapping[int, float] = field(default_factory=dict)


def answers(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[int, Sequence[int]],
    numbers: Mapping[int, Sequence[float]],
    max_new_tokens: int,
    *,
    expected: Mapping[int, int],
    tokens: int | None,
    progress: Progress,
    warn: Callable[[str], None],
    served: Served | None = None,
) -> Answers:
    """Return a greedy response to each prompt, and a sampled one for each entry of `numbers`.

    `base`, if given, is the model for the KL. `expected`: token counts of the expected answers; `tokens`
    limits a batch; `progress` receives progress, and `warn` a message if memory ran out. `served`, if given,
    generates the responses instead of `model`; the KL is still that of `model`.
    """
    asked = [*prompts.values(), *(prompts[i] for i in numbers)]
    drawing = [*(None for _ in prompts), *numbers.values()]
    done = counting(progress, "answers", len(asked))
    if served is not None:
        said = _by_server(served, model, tokenizer, asked, max_new_tokens, drawing, done)
    else:
        said = respond(
            model,
            tokenizer,
            asked,
            max_new_tokens,
            draws=drawing,
            expected=[min(expected.get(i, 0), max_new_tokens) for i in (*prompts, *numbers)],
            tokens=tokens,
            done=done,
            warn=warn,
        )
    drawn = dict(zip(numbers, said[len(prompts) :], strict=True))
    kl: dict[int, float] = {}
    if base is not None:
        whole = [Encoded((*prompts[i], *one.ids), max(1, len(prompts[i]))) for i, one in drawn.items()]
        done = counting(progress, "KL to the base", len(whole))
        found = divergences(model, base, whole, tokens=tokens, done=done, warn=warn)
        kl = dict(zip(drawn, found or (), strict=False))
    return Answers(dict(zip(prompts, said, strict=False)), drawn, kl)


def _by_server(
    served: Served,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    draws: Sequence[Sequence[float] | None],
    done: Callable[[int], None],
) -> list[Response]:
    """Return the server's responses, requested by one process. `model` gives the end tokens."""
    ends, thoughts = end_tokens(model, tokenizer), thoughts_of(tokenizer)
    asked = partial(served.respond, prompts, max_new_tokens, ends, draws=draws, done=done)
    new = current().by_first(asked)
    served.compare(model, prompts, new)
    return [
        response_of(tokenizer, prompt, one.token_ids, ends, thoughts)
        for prompt, one in zip(prompts, new, strict=True)
    ]


def numbers_to_draw_with(
    ids: Sequence[str], prompts: Mapping[int, Sequence[int]], rows: int, max_new_tokens: int, seed: int
) -> dict[int, list[float]]:
    """Return the random numbers of `rows` seeded rows with a prompt, by row index."""
    there = list(prompts)
    picked = [there[i] for i in chosen([ids[i] for i in there], rows, seed)]
    return {i: draws(ids[i], max_new_tokens, seed) for i in picked}
