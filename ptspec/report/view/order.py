"""The shown metrics and their order: those that the recipe trains and checks for come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ptspec.events import Figure
from ptspec.metrics import DRAWN, METRICS, RAW_METRICS, is_drawn
from ptspec.report.view.measure import Measure, measure

Metrics = Mapping[str, Figure]

ACCURACY = ("accuracy", "sampled_accuracy")
LIKELIHOOD = ("loss", "perplexity", "bits_per_byte")
PREFERENCE = ("preference_accuracy", "reward_margin", *RAW_METRICS)
BRIEF = tuple(name for name, known in METRICS.items() if known.brief)
"""Metrics of the last stage on the line below the stages."""
OURS = tuple(
    dict.fromkeys(each for name in METRICS for each in (PREFERENCE if name in PREFERENCE else (name,)))
)
"""All metrics in display order: those of raw likelihoods stand beside the relative ones."""


def measures(evaluations: Sequence[Metrics], trained_for: Sequence[str] = ()) -> list[Measure]:
    """Return the measures of all `evaluations` in display order.

    `trained_for` come first among rewards and tasks. Preference accuracy alone is misleading (it can rise
    while the task is unlearned), so accuracy precedes it even if not measured.
    """
    names = dict.fromkeys(name for metrics in evaluations for name in metrics)
    if "preference_accuracy" in names:
        names["accuracy"] = None
    return [_measure(name, evaluations) for name in in_order(names, trained_for)]


def key_measures(evaluations: Sequence[Metrics], trained_for: Sequence[str] = ()) -> list[Measure]:
    """Return a stage's key measures: accuracy, rewards, tasks, win rates, likelihood, preference, checks.

    Preference only if accuracy was measured, or a check names it.
    """
    names = dict.fromkeys(name for metrics in evaluations for name in metrics)
    likelihood = next((name for name in LIKELIHOOD if name in names), "")
    others = [name for name in names if name not in OURS and not is_drawn(name)]
    wanted = {"accuracy", *others, "win_rate", "pair_accuracy", likelihood, *trained_for}
    if "accuracy" in names:
        wanted.add("preference_accuracy")
    shown = [name for name in in_order(names, trained_for) if name in wanted]
    at_end = [name for name in shown if name in (*LIKELIHOOD, *PREFERENCE)]
    return [_measure(name, evaluations) for name in [n for n in shown if n not in at_end] + at_end]


def one_line_measures(evaluations: Sequence[Metrics]) -> list[Measure]:
    """Return the descriptive measures on one line below the stages."""
    return [_measure(name, evaluations) for name in BRIEF if any(name in m for m in evaluations)]


def in_order(names: Iterable[str], trained_for: Sequence[str] = ()) -> list[str]:
    """Sort: accuracy, rewards and tasks, win rates, reward models, likelihood, preference, descriptive."""
    places = {name: place for place, name in enumerate(names)}
    first = {name: place for place, name in enumerate(trained_for)}
    return sorted(places, key=lambda name: (*_rank(name, first), places[name]))


def _rank(name: str, first: Mapping[str, int]) -> tuple[int, int, int]:
    if name in ACCURACY:
        return (0, ACCURACY.index(name), 0)
    if name not in METRICS and name not in RAW_METRICS:
        return (1, first.get(name.removeprefix(DRAWN), len(first)), 0)
    return (2, OURS.index(name), 0)


def _measure(name: str, evaluations: Sequence[Metrics]) -> Measure:
    return measure(name, [metrics[name] for metrics in evaluations if name in metrics])
