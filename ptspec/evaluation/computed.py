"""Compute likelihoods of texts, responses to prompts, and their KL, with one prefill per prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptspec.evaluation.answers import Answers, answers
from ptspec.evaluation.encoding import Encoded
from ptspec.evaluation.likelihood import log_likelihoods, piece_of
from ptspec.evaluation.prefixes import can_be_shared
from ptspec.evaluation.progress import Progress, counting, counting_once_begun
from ptspec.evaluation.shared_prompts import Questions, ask
from ptspec.evaluation.work import Work

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ptspec.evaluation.generation import Response
    from ptspec.evaluation.served import Served

SHORTEST = 2
"""Minimum tokens of a shared prompt: its last one is read with the continuation."""


@dataclass(frozen=True)
class Request:
    """`numbers`: random numbers of sampled responses, by row; `tokens`: maximum per batch (None.

    By memory).
    """

    work: Work
    numbers: Mapping[int, Sequence[float]]
    max_new_tokens: int
    tokens: int | None = None

    def expected(self, row: int) -> int:
        """Return the number of tokens a response may have."""
        answer = self.work.expected.get(row)
        return min(answer.completion_tokens if answer else 0, self.max_new_tokens)


Computed = tuple[dict[Encoded, float], Answers]


def compute(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    request: Request,
    *,
    progress: Progress,
    warn: Callable[[str], None],
    served: Served | None = None,
) -> Computed:
    """Return log p of each text in nats, and the responses, with their KL to `base` if given.

    `served`, if given, generates the responses instead of `model`. `progress` receives progress, `warn` a
    message if memory ran out.
    """
    short = any(len(prompt) < SHORTEST for prompt in request.work.prompts.values())
    if served is not None or short or not can_be_shared(model):
        return _apart(model, base, tokenizer, request, progress, warn, served)
    return _together(model, base, tokenizer, request, progress, warn)


def _apart(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    request: Request,
    progress: Progress,
    warn: Callable[[str], None],
    served: Served | None,
) -> Computed:
    """Compute each text and each response separately."""
    work = request.work
    done = counting(progress, "likelihoods", len(work.texts))
    found = log_likelihoods(model, work.texts, tokens=request.tokens, done=done, warn=warn)
    said = answers(
        model,
        base,
        tokenizer,
        work.prompts,
        request.numbers,
        request.max_new_tokens,
        expected={i: request.expected(i) for i in work.prompts},
        tokens=request.tokens,
        progress=progress,
        warn=warn,
        served=served,
    )
    return dict(zip(work.texts, found, strict=True)), said


def _together(
    model: PreTrainedModel,
    base: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    request: Request,
    progress: Progress,
    warn: Callable[[str], None],
) -> Computed:
    """Compute everything after a prompt from one prefill; unshared prompts separately."""
    work, numbers = request.work, request.numbers
    questions, asking, alone = _questions(model, request)
    done = {
        "texts": counting(progress, "likelihoods", len(work.texts)),
        "answers": counting_once_begun(progress, "answers", len(work.prompts) + len(numbers)),
        "kl": counting_once_begun(progress, "KL to the base", len(numbers) if base is not None else 0),
    }
    found = log_likelihoods(model, alone, tokens=request.tokens, done=done["texts"], warn=warn)
    logps = dict(zip(alone, found, strict=True))
    answered = ask(
        model, base, tokenizer, questions, request.max_new_tokens, tokens=request.tokens, done=done, warn=warn
    )
    greedy: dict[int, Response] = {}
    drawn: dict[int, Response] = {}
    kl: dict[int, float] = {}
    for question, rows, one in zip(questions, asking, answered, strict=True):
        logps |= zip(question.texts, one.logps, strict=True)
        for row, numbers_of_row, response, far in zip(
            rows, question.draws, one.responses, one.kl, strict=True
        ):
            (drawn if numbers_of_row else greedy)[row] = response
            if far is not None:
                kl[row] = far
    return logps, Answers(
        {row: greedy[row] for row in work.prompts},
        {row: drawn[row] for row in numbers},
        {row: kl[row] for row in numbers if row in kl},
    )


def _questions(
    model: PreTrainedModel, request: Request
) -> tuple[list[Questions], list[list[int]], list[Encoded]]:
    """Return questions by prompt; the rows of their responses; and texts to compute separately."""
    by_prompt: dict[tuple[int, ...], Questions] = {}
    rows: dict[tuple[int, ...], list[int]] = {}
    alone: list[Encoded] = []
    for text in request.work.texts:
        prompt = text.ids[: text.start]
        if len(prompt) < SHORTEST or piece_of(text, model) is not None:
            alone.append(text)  # in several pieces, with a separate cache
        else:
            by_prompt.setdefault(prompt, Questions(prompt)).texts.append(text)
    for row, prompt in request.work.prompts.items():
        question = by_prompt.setdefault(prompt, Questions(prompt))
        draws = [None, *([request.numbers[row]] if row in request.numbers else [])]
        question.draws += draws
        question.longest = max(question.longest, request.expected(row))
        rows.setdefault(prompt, []).extend([row] * len(draws))
    for prompt, question in list(by_prompt.items()):
        if not question.draws and len(question.texts) < 2:
            alone += by_prompt.pop(prompt).texts
    return list(by_prompt.values()), [rows.get(prompt, []) for prompt in by_prompt], alone
