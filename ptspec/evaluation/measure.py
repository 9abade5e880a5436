"""Measure one model on held-out rows: likelihoods, preference, responses, rewards.

Independent of recipes and training. The model's modes and random state are restored afterwards.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.layouts.table import CONTEXT, LAYOUTS
from ptspec.diagnostics import Diagnostic, InputError, StageError
from ptspec.evaluation.accuracy import ACCURACY, readable_calls, scorer_of
from ptspec.evaluation.aggregates import aggregates, repetition
from ptspec.evaluation.answers import SAMPLED, Answers, numbers_to_draw_with
from ptspec.evaluation.computed import Request, compute
from ptspec.evaluation.encoding import Encoded, plain
from ptspec.evaluation.generation import Response
from ptspec.evaluation.isolation import undisturbed
from ptspec.evaluation.measurement import (
    RAW_PREFERENCE,
    DataStamp,
    Measurement,
    RowMeasurement,
    Settings,
    row_ids,
)
from ptspec.evaluation.merged_adapter import adapter_merged
from ptspec.evaluation.progress import Progress, discard_progress
from ptspec.evaluation.refusals import is_refusal, patterns_name
from ptspec.evaluation.scoring import is_conversation, reward_scores
from ptspec.evaluation.work import Work, prepare
from ptspec.metrics import DRAWN, METRICS, RAW_METRICS, RAW_NAMES
from ptspec.processes import current
from ptspec.recipe.plan import EvaluationSpec
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.matching import completion_text
from ptspec.rewards.tool_calls import is_text_alone

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ptspec.evaluation.served import Served


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[EvaluationRow],
    spec: EvaluationSpec,
    *,
    seed: int,
    name: str = "model",
    rewards: Mapping[str, RewardFunction] | None = None,
    reference: Measurement | None = None,
    base: PreTrainedModel | None = None,
    base_name: str | None = None,
    data: DataStamp | None = None,
    progress: Progress = discard_progress,
    warn: Callable[[str], None] = warnings.warn,
    served: Served | None = None,
) -> Measurement:
    """Measure `model` on `rows`: what their columns allow and `spec.metrics` (None: all) requests.

    `reference` is the measurement of the stage's start on the same rows: preference is then implicit, (log
    π/π_ref)(chosen) against (log π/π_ref)(rejected), else by raw likelihoods. `base`, called `base_name`, is
    the model for the KL; without one there is no KL. Requested preference accuracy includes task accuracy.
    `progress` receives progress; `warn` right answers that cannot be compared with, and memory shortage.
    `served`: `model` on a generation server, which generates the responses; its log-probabilities are checked
    against the model's. Raises `InputError` for rows the chat template cannot render or a reward named like a
    metric, `StageError` if the model's likelihoods are not finite or a reward function fails.
    """
    begun = time.perf_counter()
    rewards = dict(rewards or {})
    wanted = _wanted(spec, rewards)
    _must_have(spec.cluster, rows)
    ids = keys_of(rows)
    base = base if "kl" in wanted else None
    scorer = scorer_of(spec.accuracy, rows, warn=warn) if wanted & ACCURACY else None
    with undisturbed(model, seed):
        work = prepare(tokenizer, rows, wanted, _context(model), spec.max_new_tokens)
        if work.shortened:
            warn(shortened_in_words(work.shortened, len(rows), _context(model)))
        drawn_rewards = {key: function for key, function in rewards.items() if DRAWN + key in wanted}
        sampled = spec.sampled if wanted & SAMPLED or drawn_rewards else 0
        numbers = numbers_to_draw_with(ids, work.prompts, sampled, spec.max_new_tokens, seed)
        if served is not None:
            served = served.checked(model, work.prompts)
        request = Request(work, numbers, spec.max_new_tokens, spec.batch_tokens)
        with adapter_merged(model, base):
            logp, said = compute(model, base, tokenizer, request, progress=progress, warn=warn, served=served)

        def scored() -> _Given:
            chosen_rewards = {key: function for key, function in rewards.items() if key in wanted}
            scores = reward_scores(chosen_rewards, rows, said.greedy)
            drawn_scores = reward_scores(drawn_rewards, rows, said.drawn)
            right: list[Mapping[int, bool | None]] = [{}, {}]
            if scorer is not None:
                readable = readable_calls(tokenizer, rows)
                right = [scorer.correct(rows, each, readable) for each in (said.greedy, said.drawn)]
            return _Given(work, logp, said, (scores, drawn_scores), (right[0], right[1]))

        # User functions and endpoints are called once per row.
        given = current().by_first(scored)
    _check_finite(logp.values())
    measured = _measured(rows, ids, given, reference, spec)
    figures = current().by_first(lambda: aggregates(measured, seed=seed))
    return Measurement(
        name=name,
        rows=measured,
        metrics={key: figure for key, figure in figures.items() if key in wanted},
        settings=Settings(
            seed=seed,
            max_new_tokens=spec.max_new_tokens,
            preference_reference=_reference_name(work, reference),
            chat=any(isinstance(row.prompt, list) for row in rows),
            shortened_rows=work.shortened,
            reference_fingerprint=reference.fingerprint if reference and work.pairs else None,
            tokenizer=tokenizer_name(tokenizer),
            kl_base=base_name if said.kl else None,
            conversational=any(is_conversation(row) for row in rows),
            refusals=patterns_name(spec.refusals),
            cluster=spec.cluster,
            accuracy=None if scorer is None else scorer.name,
            accuracy_why=None if scorer is None else scorer.why,
            generated_by=served.program if served is not None and work.prompts else None,
        ),
        data=data,
        seconds=time.perf_counter() - begun,
    )


def tokenizer_name(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return an identifier of a tokenizer: its size, and a hash of how it splits a text."""
    ids = tokenizer(text=TEXT, add_special_tokens=False)["input_ids"]
    return hashlib.sha256(f"{len(tokenizer)} {list(ids)}".encode()).hexdigest()[:12]


TEXT = "Was 3,75 € für 2 Kilo Äpfel zu teuer?\n\tdef is_prime(n): return n > 1  # наверное, 也许"


def _wanted(spec: EvaluationSpec, rewards: Mapping[str, RewardFunction]) -> frozenset[str]:
    if taken := [name for name in rewards if name in METRICS or name in RAW_METRICS]:
        raise InputError(
            Diagnostic("reward-name", f'"{taken[0]}" is the name of a metric', hint="rename the reward")
        )
    if spec.metrics is None:
        return (
            frozenset(METRICS)
            | frozenset(RAW_METRICS)
            | frozenset(rewards)
            | {DRAWN + name for name in rewards}
        )
    asked = frozenset(spec.metrics)
    asked |= {RAW_NAMES[name] for name in asked if name in RAW_NAMES}
    return asked | {"accuracy"} if "preference_accuracy" in asked else asked


def _must_have(cluster: str | None, rows: Sequence[EvaluationRow]) -> None:
    """Raise `InputError` for a cluster column that no row has."""
    if cluster is None or any(row.columns.get(cluster) is not None for row in rows):
        return
    columns = dict.fromkeys(name for row in rows for name in row.columns)
    message = f'no held-out row has a column "{cluster}" to cluster by'
    raise InputError(Diagnostic("missing-column", message, hint=f"columns: {', '.join(columns)}"))


def shortened_in_words(shortened: int, rows: int, context: int | None) -> str:
    """Return the message about rows that exceed the model's context."""
    return (
        f"{shortened:,} of {rows:,} held-out rows have no room in the model's context of {context or 0:,} "
        "tokens, max_new_tokens included: their first tokens are left out"
    )


def _context(model: PreTrainedModel) -> int | None:
    """Return the model's maximum positions in tokens, if its config has them."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _check_finite(values: Iterable[float]) -> None:
    if not all(math.isfinite(value) for value in values):
        raise StageError(
            Diagnostic(
                "not-a-number",
                "the model's likelihoods of held-out rows are not numbers: its weights have diverged",
                hint="a lower learning_rate, max_grad_norm, or bfloat16 in place of float16",
            )
        )


def _reference_name(work: Work, reference: Measurement | None) -> str | None:
    if not work.pairs:
        return None
    return RAW_PREFERENCE if reference is None else reference.name


Scores = Mapping[int, Mapping[str, float | None]]


@dataclass(frozen=True)
class _Given:
    """Computed values by row index; `scores` and `correct`: of the greedy, then of the sampled responses."""

    work: Work
    logp: Mapping[Encoded, float]
    said: Answers
    scores: tuple[Scores, Scores]
    correct: tuple[Mapping[int, bool | None], Mapping[int, bool | None]]


def _measured(
    rows: Sequence[EvaluationRow],
    ids: Sequence[str],
    given: _Given,
    reference: Measurement | None,
    spec: EvaluationSpec,
) -> tuple[RowMeasurement, ...]:
    work, logp, said, scores = given.work, given.logp, given.said, given.scores
    earlier = None if reference is None else reference.by_id()
    measured = []
    for i, (row, key) in enumerate(zip(rows, ids, strict=True)):
        one = _blank(row, key, scores[0].get(i, {}), spec.cluster)
        if encoded := work.expected.get(i):
            one = _with_likelihood(one, row, encoded, logp[encoded])
        if pair := work.pairs.get(i):
            one = _with_preference(one, pair, logp)
            one = replace(one, margin=_margin(one, earlier))
        if response := said.greedy.get(i):
            one = replace(_with_response(one, response, spec.refusals), correct=given.correct[0].get(i))
        if drawn := said.drawn.get(i):
            one = _with_sample(one, drawn, said.kl.get(i))
            one = replace(one, sample_rewards=scores[1].get(i, {}), sample_correct=given.correct[1].get(i))
        measured.append(one)
    return tuple(measured)


def keys_of(rows: Sequence[EvaluationRow]) -> list[str]:
    """Return the id of each row, by its prompt's text."""
    return row_ids(_key_text(row) for row in rows)


def _key_text(row: EvaluationRow) -> str:
    return plain(row.prompt) or plain(row.expected)


def _blank(
    row: EvaluationRow, key: str, rewards: Mapping[str, float | None], cluster: str | None
) -> RowMeasurement:
    value = None if cluster is None else row.columns.get(cluster)
    expected = None if row.expected is None else completion_text(row.expected)
    return RowMeasurement(
        key,
        plain(row.prompt),
        expected=expected,
        answer=row.answer,
        rewards=rewards,
        slices=_slices(row.columns),
        cluster=None if value is None else str(value),
    )


SHORT = 40
NO_SLICE = frozenset(
    (
        *("answer", "label", "id", "input", *CONTEXT),
        *(column for layouts in LAYOUTS.values() for layout in layouts for column in layout.columns),
    )
)


def _slices(columns: Mapping[str, object]) -> dict[str, str]:
    """Return the columns to slice by: short values, and not columns of a method."""
    further = {name: value for name, value in columns.items() if name not in NO_SLICE}
    texts = {name: str(value) for name, value in further.items() if isinstance(value, str | int)}
    return {name: text for name, text in texts.items() if 0 < len(text) <= SHORT and "\n" not in text}


def _with_likelihood(
    one: RowMeasurement, row: EvaluationRow, encoded: Encoded, logp: float
) -> RowMeasurement:
    """Return a row with its likelihood; without bytes if the answer is more than text."""
    size = len(completion_text(row.expected or "").encode("utf-8", "surrogatepass"))
    alone = is_text_alone(row.expected)
    return replace(one, nll=-logp, tokens=encoded.completion_tokens, bytes=size if alone else None)


def _with_preference(
    one: RowMeasurement, pair: tuple[Encoded, Encoded], logp: Mapping[Encoded, float]
) -> RowMeasurement:
    chosen, rejected = pair
    return replace(
        one,
        logp_chosen=logp[chosen],
        logp_rejected=logp[rejected],
        chosen_tokens=chosen.completion_tokens,
        rejected_tokens=rejected.completion_tokens,
    )


def _margin(one: RowMeasurement, earlier: Mapping[str, RowMeasurement] | None) -> float | None:
    """Return the row's preference margin, relative to the reference if there is one.

    None if it lacks the row.
    """
    if earlier is None:
        return one.preference
    before = earlier[one.id].preference if one.id in earlier else None
    return None if before is None or one.preference is None else one.preference - before


def _with_response(one: RowMeasurement, response: Response, refusals: Sequence[str]) -> RowMeasurement:
    return replace(
        one,
        response=response.text,
        response_tokens=len(response.ids),
        finished=response.finished,
        repetition=repetition(response.ids),
        refused=is_refusal(response.text, refusals),
    )


def _with_sample(one: RowMeasurement, drawn: Response, kl: float | None) -> RowMeasurement:
    return replace(
        one,
        sample=drawn.text,
        sample_tokens=len(drawn.ids),
        kl=kl,
    )
