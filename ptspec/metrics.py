"""The metrics of an evaluation: names, units and which direction is better. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Better(Enum):
    """The better direction of a metric; `NEITHER` for descriptive ones."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True)
class Metric:
    """Properties of a metric.

    `share`: a number in [0, 1], shown in percent. `relative`: each policy's is relative to its own reference,
    so that two policies' must not be subtracted. `describes`: a comparison never calls a difference better or
    worse. `complement`: 1 − value is shown, under `label`; `better` is of the stored value. `compared`: a
    comparison of two policies includes it although it only describes. `brief`: it is on the one line below
    the stages of a run.
    """

    name: str
    label: str
    better: Better
    share: bool = False
    unit: str = ""
    relative: bool = False
    describes: bool = False
    complement: bool = False
    compared: bool = False
    brief: bool = False


def _described(
    name: str, label: str, better: Better = Better.NEITHER, unit: str = "", **flags: bool
) -> Metric:
    return Metric(name, label, better, unit=unit, share=not unit, describes=True, **flags)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", Better.HIGHER, share=True),
        Metric("sampled_accuracy", "accuracy at T=1", Better.HIGHER, share=True),
        Metric("win_rate", "win rate", Better.HIGHER, share=True, relative=True),
        Metric("win_rate_lc", "win rate at equal length", Better.HIGHER, share=True, relative=True),
        Metric("win_rate_base", "win rate over the base", Better.HIGHER, share=True),
        Metric("win_rate_base_lc", "win rate over the base at equal length", Better.HIGHER, share=True),
        Metric("pair_accuracy", "pair accuracy", Better.HIGHER, share=True),
        Metric("pair_margin", "pair margin", Better.HIGHER),
        Metric("loss", "loss", Better.LOWER, unit="nats/token"),
        Metric("perplexity", "perplexity", Better.LOWER),
        Metric("bits_per_byte", "bits per byte", Better.LOWER),
        Metric("preference_accuracy", "preference accuracy", Better.HIGHER, share=True, relative=True),
        _described("reward_margin", "implicit reward margin", unit="nats", relative=True),
        _described("response_length", "completion length", unit="tokens", brief=True),
        _described("response_characters", "completion length", unit="characters"),
        _described("kl", "KL to base", unit="nats/token", brief=True),
        _described("finished", "truncated", Better.HIGHER, complement=True, compared=True, brief=True),
        _described("repetition", "repetition", Better.LOWER, compared=True, brief=True),
        _described("refusals", "refusals", compared=True, brief=True),
        _described("empty", "empty", Better.LOWER, compared=True, brief=True),
        _described("distinct_1", "distinct-1"),
        _described("distinct_2", "distinct-2", compared=True),
    )
}
"""The metrics that a recipe may name, in display order. Each reward adds one under its own name."""

RAW_NAMES = {"preference_accuracy": "raw_preference", "reward_margin": "raw_margin"}
RAW_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _described("raw_preference", "raw preference", Better.HIGHER),
        _described("raw_margin", "raw margin", unit="nats"),
    )
}
"""Preference by likelihoods alone, relative to no policy: comparable between policies with different
references. `RAW_NAMES`: the relative metric's name of each."""

PAIR_METRICS = {"preference_accuracy": "pair_accuracy", "reward_margin": "pair_margin"}
"""A policy's preference is relative to its reference, a reward model's is not: hence other names."""

JUDGED = ("win_rate", "win_rate_lc", "win_rate_base", "win_rate_base_lc")
"""Metrics that a judge is asked for."""

DRAWN = "sampled_"
"""Prefix of a reward's name: its mean over the sampled responses."""

LOWER_IN_HARNESS = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter")


def metric(name: str) -> Metric:
    """Return the metric called `name`.

    task/metric is one of lm-evaluation-harness; any other unknown name is a reward, of which more is better.
    """
    if (known := METRICS.get(name) or RAW_METRICS.get(name)) is not None:
        return known
    task, slash, rest = name.rpartition("/")
    if not slash:
        label = name.removeprefix(DRAWN).replace("_", " ") + (" at T=1" if is_drawn(name) else "")
        return Metric(name, label, Better.HIGHER)
    of_harness = rest.partition(":")[0]
    better = Better.LOWER if of_harness in LOWER_IN_HARNESS else Better.HIGHER
    return Metric(name, f"{task} {rest.replace('_', ' ')}", better)


def is_drawn(name: str) -> bool:
    """Return whether `name` is a reward over the sampled responses."""
    return name.startswith(DRAWN) and name not in METRICS
