"""Compute everything after a prompt from one prefill.

Likelihoods of continuations, a greedy and a sampled response, and the KL of the sampled one to the base. A
prompt's tokens are most of what an evaluation computes: its chosen and rejected answer and both generated
ones begin with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ptspec.evaluation.batching import batches, in_shares
from ptspec.evaluation.divergence import divergence, share_vocabulary
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.generation import Response, continued, end_tokens, generation_config, response_of
from ptspec.evaluation.likelihood import SOFTMAX_POSITIONS, completion_logits, of_completions, token_budget
from ptspec.evaluation.memory import generation_tokens
from ptspec.evaluation.prefixes import Prefixes
from ptspec.evaluation.thought_tags import thoughts_of
from ptspec.model.decoding.loop import Prompts
from ptspec.processes import current

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Told = Callable[[int], None]


@dataclass
class Questions:
    """What to compute after one prompt.

    `texts` are sequences whose completions begin at its end; `draws` has an entry per response: None for a
    greedy one, else the numbers to sample with.
    """

    prompt: tuple[int, ...]
    texts: list[Encoded] = field(default_factory=list)
    draws: list[Sequence[float] | None] = field(default_factory=list)
    longest: int = 0

    def tokens(self, max_new_tokens: int) -> int:
        """Return the maximum number of tokens in the cache."""
        answers = len(self.draws) * (len(self.prompt) + max_new_tokens)
        return len(self.prompt) + max(answers, sum(len(text.ids) for text in self.texts))


@dataclass(frozen=True)
class Answered:
    """Of one prompt: log p of each text in nats, the responses, and Σ_t KL(π‖base) of sampled ones."""

    logps: tuple[float, ...]
    responses: tuple[Response, ...]
    kl: tuple[float | None, ...]


def ask(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Questions],
    max_new_tokens: int,
    *,
    tokens: int | None,
    done: Mapping[str, Told],
    warn: Callable[[str], None],
) -> list[Answered]:
    """Compute `questions`, whose prompts have at least two tokens, in their order.

    `base`, if given, is the model for the KL. `tokens` limits a batch (None: by free memory); `done` receives
    the number of finished "texts", "answers" and "kl".
    """
    scored = current().of_first(token_budget(model, tokens))  # of the first's free memory: one batch, one sum
    asking = _Asking(model, base, tokenizer, max_new_tokens, scored, done)
    lengths = [one.tokens(max_new_tokens) for one in questions]
    budget = tokens or generation_tokens(model, min(lengths, default=0))
    rank = [len(one.prompt) + one.longest for one in questions]
    return in_shares(
        lengths, budget, lambda batch: asking.batch([questions[i] for i in batch]), rank=rank, warn=warn
    )


@dataclass(frozen=True)
class _Asking:
    model: PreTrainedModel
    base: PreTrainedModel | None
    tokenizer: PreTrainedTokenizerBase
    max_new_tokens: int
    budget: int
    done: Mapping[str, Told]

    def batch(self, questions: Sequence[Questions]) -> list[Answered]:
        """Compute everything after some prompts."""
        prefixes = Prefixes(self.model, [one.prompt for one in questions], self.budget)
        texts = [(place, text) for place, one in enumerate(questions) for text in one.texts]
        asked = [(place, draws) for place, one in enumerate(questions) for draws in one.draws]
        logps = self._likelihoods(prefixes, texts)
        said = self._responses(prefixes, asked)
        drawn = [number for number, (_, draws) in enumerate(asked) if draws]
        kl = self._kl(prefixes, [(asked[number][0], said[number]) for number in drawn])
        by_number = dict(zip(drawn, kl, strict=True)) if kl else {}
        return [
            Answered(
                tuple(logp for (at, _), logp in zip(texts, logps, strict=True) if at == place),
                tuple(one for (at, _), one in zip(asked, said, strict=True) if at == place),
                tuple(by_number.get(number) for number, (at, _) in enumerate(asked) if at == place),
            )
            for place in range(len(questions))
        ]

    def _likelihoods(self, prefixes: Prefixes, texts: Sequence[tuple[int, Encoded]]) -> list[float]:
        found: dict[int, float] = {}
        for batch in batches([text.completion_tokens for _, text in texts], self.budget):
            completions = [texts[i][1].ids[texts[i][1].start :] for i in batch]
            logits = prefixes.logits([texts[i][0] for i in batch], completions)
            found |= zip(batch, of_completions(logits, [0] * len(batch), completions).tolist(), strict=True)
            self.done["texts"](len(batch))
        return [found[i] for i in range(len(texts))]

    def _responses(
        self, prefixes: Prefixes, asked: Sequence[tuple[int, Sequence[float] | None]]
    ) -> list[Response]:
        if not asked:
            return []
        self.done["answers"](0)
        rows = [place for place, _ in asked]
        ends, thoughts = end_tokens(self.model, self.tokenizer), thoughts_of(self.tokenizer)
        config = generation_config(self.tokenizer, ends, self.max_new_tokens)
        prompts = Prompts(prefixes.prompts(rows, config.pad_token_id), prefixes.mask(rows, 1))
        new = continued(self.model, prompts, [draws for _, draws in asked], config, prefixes.cache(rows))
        self.done["answers"](len(asked))
        return [
            response_of(self.tokenizer, prefixes.ids[place], ids, ends, thoughts)
            for place, ids in zip(rows, new, strict=True)
        ]

    def _kl(self, prefixes: Prefixes, drawn: Sequence[tuple[int, Response]]) -> list[float] | None:
        """Return the KL of each sampled response; None without a base, or with another vocabulary."""
        if self.base is None or not share_vocabulary(self.model, self.base):
            return None
        found: dict[int, float] = {}
        for batch in batches([len(one.ids) for _, one in drawn], max(1, self.budget // 2)):
            rows, said = [drawn[i][0] for i in batch], [drawn[i][1].ids for i in batch]
            logits = prefixes.logits(rows, said)
            policy = [iter(logits[n, : len(ids)].split(SOFTMAX_POSITIONS)) for n, ids in enumerate(said)]
            whole = [
                Encoded((*prefixes.ids[row], *ids), len(prefixes.ids[row]))
                for row, ids in zip(rows, said, strict=True)
            ]
            pairs = zip(policy, completion_logits(whole, self.base), strict=True)
            found |= zip(batch, (divergence(own, other) for own, other in pairs), strict=True)
            self.done["kl"](len(batch))
        return [found[i] for i in range(len(drawn))]
