"""The result of an evaluation: one record per row, and the aggregates. Types only; no torch, no numpy."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ptspec.events import Figure
from ptspec.metrics import DRAWN, RAW_NAMES, is_drawn

RAW_PREFERENCE = "raw likelihood"
"""`Settings.preference_reference` without a reference policy."""


@dataclass(frozen=True)
class RowMeasurement:
    """One measured held-out row. None: the row's columns lack it, or it was not requested.

    `nll` is −Σ log p over the tokens of the expected completion, end of turn included, in nats; `tokens`
    counts them and `bytes` the UTF-8 bytes of its text, None if the answer is more than text (tool calls,
    thoughts). `logp_chosen`, `logp_rejected` are Σ log p over the completion tokens. `margin` is (log
    π/π_ref)(chosen) − (log π/π_ref)(rejected), or without a reference log π(chosen) − log π(rejected).
    `response_tokens` counts the end token, as TRL does; `finished`: it was generated. `repetition` is the
    share of 4-grams of the response that repeat an earlier one. `correct`: by `Settings.accuracy`; None
    without a scorer. `refused`: it begins like a refusal. `sample` is a second response, sampled at
    temperature 1, with its own tokens, correctness and rewards; `kl` is Σ_t KL(π‖base) over its tokens, in
    nats. `judged`: by another policy's name, the probability that a judge prefers this response to that
    one's. `slices` holds the row's further columns (a topic, a difficulty) with short values; `cluster` the
    value of the recipe's `eval.cluster`.
    """

    id: str
    prompt: str
    expected: str | None = None
    answer: str | None = None
    nll: float | None = None
    tokens: int | None = None
    bytes: int | None = None
    logp_chosen: float | None = None
    logp_rejected: float | None = None
    chosen_tokens: int | None = None
    rejected_tokens: int | None = None
    margin: float | None = None
    response: str | None = None
    response_tokens: int | None = None
    finished: bool | None = None
    repetition: float | None = None
    correct: bool | None = None
    rewards: Mapping[str, float | None] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)
    refused: bool | None = None
    sample: str | None = None
    sample_tokens: int | None = None
    sample_correct: bool | None = None
    sample_rewards: Mapping[str, float | None] = field(default_factory=dict)
    kl: float | None = None
    judged: Mapping[str, float] = field(default_factory=dict)
    cluster: str | None = None

    @property
    def unit(self) -> tuple[str, str]:
        """The row's cluster: rows of one cluster, else of one prompt, are dependent."""
        if self.cluster is not None:
            return ("cluster", self.cluster)
        return ("prompt", self.prompt) if self.prompt.strip() else ("row", self.id)

    @property
    def preference(self) -> float | None:
        """log π(chosen) − log π(rejected), without a reference."""
        if self.logp_chosen is None or self.logp_rejected is None:
            return None
        return self.logp_chosen - self.logp_rejected


@dataclass(frozen=True)
class Settings:
    """How it was measured.

    `preference_reference`: the policy that preference is relative to; `kl_base`: the model that the KL is to;
    `tokenizer`: an identifier; `conversational`: the data holds lists of messages; `refusals`: the patterns
    of refusals, "built in" or a hash of the recipe's own. `cluster`: the column of dependent rows, besides
    those of one prompt; `method`: the last method that trained the policy, if known. `accuracy`: the built-in
    reward for correctness, "tool calls" if calls are compared, and `accuracy_why` the reason; None without a
    scorer. `generated_by`: the server that generated the responses, "vLLM 0.32.0"; None for the policy
    itself.
    """

    seed: int
    max_new_tokens: int
    preference_reference: str | None
    chat: bool
    shortened_rows: int = 0
    kl_base: str | None = None
    reference_fingerprint: str | None = None
    tokenizer: str | None = None
    conversational: bool = False
    refusals: str = "built in"
    cluster: str | None = None
    method: str | None = None
    accuracy: str | None = None
    accuracy_why: str | None = None
    generated_by: str | None = None

    @property
    def accuracy_in_words(self) -> str | None:
        """The scorer and the reason: "choice_letter: named in eval.accuracy"."""
        return None if self.accuracy is None else f"{self.accuracy}: {self.accuracy_why}"


@dataclass(frozen=True)
class DataStamp:
    """The measured rows: the file, the SHA-256 of its contents, the number of rows."""

    file: str
    sha256: str
    rows: int


@dataclass(frozen=True)
class JudgeStamp:
    """The judge of the responses, and its statistics.

    Questions sent to a server (`asked`), requests repeated (`retried`), questions answered twice with neither
    A, B nor TIE (`unparsed`: refusals too), pairs where the order decided (`disagreed`), and `ties` of the
    `compared` pairs of responses.
    """

    name: str
    compared: int
    ties: int
    asked: int = 0
    retried: int = 0
    unparsed: int = 0
    disagreed: int = 0


@dataclass(frozen=True)
class Measurement:
    """A model on held-out rows. `metrics` holds the aggregates by name, with 95 % intervals.

    `fingerprint`, if set, covers all that the numbers depend on. `documents`: for each mean of a
    lm-evaluation-harness task, the score of each document by its id.
    """

    name: str
    rows: tuple[RowMeasurement, ...]
    metrics: Mapping[str, Figure]
    settings: Settings
    data: DataStamp | None = None
    seconds: float = 0.0
    fingerprint: str | None = None
    judge: JudgeStamp | None = None
    documents: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def shown(self) -> dict[str, Figure]:
        """The metrics for display side by side.

        Preference relative to a policy has its own name; by raw likelihoods, which is common to policies, it
        is `raw_preference` and `raw_margin`.
        """
        if self.settings.preference_reference != RAW_PREFERENCE:
            return dict(self.metrics)
        return {RAW_NAMES.get(name, name): figure for name, figure in self.metrics.items()}

    @property
    def preference_over(self) -> str | None:
        """The policy that preference is relative to; None if it is raw, or missing."""
        reference = self.settings.preference_reference
        return None if reference == RAW_PREFERENCE else reference

    def by_id(self) -> dict[str, RowMeasurement]:
        """The rows by id."""
        return {row.id: row for row in self.rows}


def trained_by(measurement: Measurement, method: str | None) -> Measurement:
    """Return the measurement with the last training method of its policy, if known."""
    if method is None or measurement.settings.method == method:
        return measurement
    return replace(measurement, settings=replace(measurement.settings, method=method))


def accuracy_label(label: str, settings: Iterable[Settings]) -> str:
    """Return an accuracy's label with its scorer: "accuracy (exact match)"; unchanged if scorers differ."""
    named = {one.accuracy for one in settings if one.accuracy is not None}
    return f"{label} ({named.pop().replace('_', ' ')})" if len(named) == 1 else label


def is_share(name: str, rows: Iterable[RowMeasurement]) -> bool:
    """Return whether the reward `name` gave 0 or 1 to each of `rows` that it scored, and scored one.

    False for ptspec's metrics, whose table says it.
    """
    is_of_samples, key = is_drawn(name), name.removeprefix(DRAWN)
    values = [(row.sample_rewards if is_of_samples else row.rewards).get(key) for row in rows]
    scored = [value for value in values if value is not None]
    return bool(scored) and all(value in (0, 1) for value in scored)


def with_shares(metrics: Mapping[str, Figure], rows: Sequence[RowMeasurement]) -> dict[str, Figure]:
    """Return `metrics` of `rows`, with rewards marked that are shares."""
    return {
        name: replace(found, is_share=True) if is_share(name, rows) else found
        for name, found in metrics.items()
    }


def row_ids(prompts: Iterable[str]) -> list[str]:
    """Return an id per row, from its prompt's text; repeated prompts get a number ("-2", "-3", …)."""
    seen: Counter[str] = Counter()
    ids = []
    for prompt in prompts:
        key = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        seen[key] += 1
        ids.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return ids
