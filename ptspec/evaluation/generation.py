"""Generate responses to many prompts: greedy, or sampled at temperature 1 with given random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel

from ptspec.evaluation.batching import in_shares, pad
from ptspec.evaluation.memory import generation_tokens
from ptspec.evaluation.thought_tags import Thoughts, thoughts_of
from ptspec.model.decoding.draws import exact, falls_on
from ptspec.model.decoding.loop import DecodingLoop, Prompts, decoded, decodes_by_rows
from ptspec.model.decoding.reader import Reader

if TYPE_CHECKING:
    from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Response:
    """`ids` up to the end token, which is included if `finished`; `text` has no special tokens.

    `answer` is `text` without the model's thoughts.
    """

    text: str
    ids: tuple[int, ...]
    finished: bool
    answer: str


def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    draws: Sequence[Sequence[float] | None] = (),
    expected: Sequence[int] = (),
    tokens: int | None = None,
    done: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[Response]:
    """Return the continuation of each prompt, at most `max_new_tokens` long, with a KV cache.

    Greedy, or, if `draws` holds `max_new_tokens` uniform numbers for the prompt, sampled from the model's own
    distribution (temperature 1, no top-k or top-p), both in the same batches. The end tokens are the
    tokenizer's and the generation config's. `tokens` limits a batch, new tokens included (None: by free
    memory; halved if it runs out, with a message to `warn`). `expected`: expected lengths in tokens; prompts
    with responses of similar length share a batch. `done` receives the number of prompts of each batch.
    """
    ends = end_tokens(model, tokenizer)
    thoughts = thoughts_of(tokenizer)

    def compute(batch: list[int]) -> list[Response]:
        drawn = [draws[i] if draws else None for i in batch]
        config = generation_config(tokenizer, ends, max_new_tokens)
        asked = [prompts[i] for i in batch]
        if decodes_by_rows(model, config):
            ids, mask = pad(asked, config.pad_token_id, model.device, left=True)
            new = continued(model, Prompts(ids, mask), drawn, config)
        else:
            new = _by_halves(model, asked, drawn, config, ends)
        return [
            response_of(tokenizer, prompts[index], ids, ends, thoughts)
            for index, ids in zip(batch, new, strict=True)
        ]

    lengths = [len(prompt) for prompt in prompts]
    rank = [a + b for a, b in zip(lengths, expected, strict=True)] if expected else None
    budget = tokens or generation_tokens(model, max_new_tokens + min(lengths, default=0))
    return in_shares(lengths, budget, compute, extra=max_new_tokens, rank=rank, done=done, warn=warn)


def continued(
    model: PreTrainedModel,
    prompts: Prompts,
    draws: Sequence[Sequence[float] | None],
    config: GenerationConfig,
    cache: DynamicCache | None = None,
) -> list[list[int]]:
    """Return the new ids of each of `prompts`, of which `cache` holds all tokens but the last.

    Finished rows leave the batch; equal prompts are read once.
    """
    own = model.get_base_model() if isinstance(model, PeftModel) else model
    loop = DecodingLoop(lambda model, inputs: Reader(model, inputs), Choosing(draws, model.device))
    ids: list[list[int]] = decoded(own, prompts, config, loop, cache).tolist()
    return ids


def _by_halves(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[Sequence[float] | None],
    config: GenerationConfig,
    ends: Iterable[int],
) -> list[list[int]]:
    """Return the new ids of each prompt, for a model whose rows cannot leave at any time.

    Finished rows leave whenever they are half of the batch.
    """
    config.return_dict_in_generate = True
    ids, mask = pad(prompts, config.pad_token_id, model.device, left=True)
    width, most = ids.shape[1], config.max_new_tokens
    new: dict[int, list[int]] = {}
    rows, cache = list(range(len(prompts))), None
    while rows:
        left = [draws[row] for row in rows]
        config.max_new_tokens = most - (ids.shape[1] - width)
        halfway = HalfEnded(ends, ids.shape[1], model.device)
        with torch.no_grad():
            output: Any = model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=[Draws(left, width, model.device)] if any(left) else None,
                stopping_criteria=[halfway] if len(rows) > 1 else None,
                past_key_values=cache,
            )
        ids, said = output.sequences, output.sequences[:, width:].tolist()
        last = ids.shape[1] - width >= most
        going = [n for n, one in enumerate(said) if not last and not set(ends).intersection(one)]
        new |= {rows[n]: one for n, one in enumerate(said) if n not in set(going)}
        rows = [rows[n] for n in going]
        if rows:
            kept = torch.tensor(going, device=ids.device)
            ids, mask = (
                ids[kept],
                torch.cat([mask, mask.new_ones(len(mask), ids.shape[1] - mask.shape[1])], 1)[kept],
            )
            cache = output.past_key_values
            if cache is not None:
                cache.reorder_cache(kept)
    return [new[row] for row in range(len(prompts))]


class HalfEnded:
    """A stopping criterion: each finished row, and all of them once half are finished."""

    def __init__(self, ends: Iterable[int], start: int, device: torch.device) -> None:
        """Set up; `start`: the width of the prompts."""
        self.start = start
        self.ends = torch.tensor(sorted(ends), dtype=torch.long, device=device)
        self.ended: torch.Tensor | None = None

    def __call__(self, ids: torch.Tensor, scores: object, **more: object) -> torch.Tensor:
        """Return which rows are finished, (batch,); all of them once half are."""
        now = torch.isin(ids[:, -1], self.ends)
        self.ended = now if self.ended is None else self.ended | now
        return self.ended | (self.ended.sum() * 2 >= len(ids))


class Draws:
    """A logits processor that keeps in sampled rows only the token of their next random number.

    The greedy choice is then a sample from the model's distribution: the first token whose cumulative
    probability exceeds the number. The same number gives the same token in any batch.
    """

    def __init__(self, draws: Sequence[Sequence[float] | None], start: int, device: torch.device) -> None:
        """Set up; `start`: the width of the prompts."""
        self.start = start
        self.rows = torch.tensor([i for i, one in enumerate(draws) if one], device=device)
        self.numbers = torch.tensor([list(one) for one in draws if one], dtype=exact(device), device=device)

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return `scores` (batch, vocabulary) with one token left in each sampled row."""
        token = falls_on(scores[self.rows], self.numbers[:, ids.shape[1] - self.start])[:, None]
        left = torch.full_like(scores[self.rows], -torch.inf).scatter_(1, token, 0.0)
        return scores.index_copy(0, self.rows, left)


class Choosing:
    """Returns the greedy token of each row, or the sampled one of a row with random numbers."""

    def __init__(self, draws: Sequence[Sequence[float] | None], device: torch.device) -> None:
        self.drawn = torch.tensor([bool(one) for one in draws], device=device)
        longest = max((len(one) for one in draws if one), default=0)
        numbers = [list(one or [0.0] * longest) for one in draws]
        self.numbers = torch.tensor(numbers, dtype=exact(device), device=device)
        self.token = 0

    def __call__(self, scores: torch.Tensor, going: torch.Tensor, rows: int) -> torch.Tensor:
        """Return tokens (going rows,) from `scores` (going rows, vocabulary)."""
        tokens = scores.argmax(-1)
        drawn = self.drawn[going].nonzero().squeeze(1)
        if len(drawn):
            tokens[drawn] = falls_on(scores[drawn], self.numbers[going[drawn], self.token])
        self.token += 1
        return tokens


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids that end a response."""
    given = getattr(model.generation_config, "eos_token_id", None)
    ends = [given] if isinstance(given, int) else list(given or [])
    return frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None)


def generation_config(
    tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], max_new_tokens: int, temperature: float = 0.0
) -> GenerationConfig:
    """Return a config for greedy decoding, or sampling the policy's own distribution at `temperature`.

    The model's own sampling settings and penalties are not used.
    """
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


def response_of(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    ids: Sequence[int],
    ends: frozenset[int],
    thoughts: Thoughts,
) -> Response:
    """Return the response in the new `ids` after `prompt`, up to the first of `ends`."""
    end = next((i for i, token in enumerate(ids) if token in ends), None)
    kept = tuple(ids if end is None else ids[: end + 1])
    said = kept if end is None else kept[:-1]
    text = tokenizer.decode(said, skip_special_tokens=True)
    return Response(text, kept, end is not None, thoughts.left_out(tokenizer, prompt, said, text))
