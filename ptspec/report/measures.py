"""How the terminal writes each evaluated metric: decimals, intervals, changes, and which to show first.

What a metric is called and which direction is better comes from ptspec/evaluation/measurement.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ptspec.evaluation.measurement import METRICS, RAW_METRICS, Better, is_drawn, metric
from ptspec.events import Figure
from ptspec.report import words
from ptspec.report.clean import clean

Metrics = Mapping[str, Figure]

AFTER_REWARDS = (
    *("kl", "response_length", "response_characters", "finished"),
    *("distinct_1", "distinct_2", "repetition", "empty", "refusals"),
)
LEFT_TO_THE_REPORT = ("response_characters", "distinct_1", "distinct_2", "win_rate_base_lc")
FAULTS = ("repetition", "empty", "refusals")
LIKELIHOOD = ("loss", "bits_per_byte", "perplexity")
DECIMALS = {"perplexity": 2, "reward_margin": 2, "response_length": 1, "response_characters": 1}


@dataclass(frozen=True)
class Measure:
    """`share`: of one, shown in percent. `decimals` are those of tables, `brief` those of a stage line."""

    name: str
    label: str
    better: Better
    decimals: int
    share: bool
    unit: str

    def number(self, value: float, decimals: int) -> str:
        """The value without its unit, as in a table whose head names the unit."""
        return words.fixed(value * self._scale, decimals)

    def value(self, value: float) -> str:
        """The value as a stage line shows it: "0.41", "95 %"."""
        text = self.number(value, self.brief)
        return f"{text} %" if self.share else text

    def delta(self, change: float, decimals: int) -> str:
        """A change with its sign; of a share, in percentage points."""
        return words.delta(change * self._scale, decimals)

    def interval(self, figure: Figure) -> str:
        """ "[91.0, 97.3]", or nothing where no interval is known."""
        if figure.low is None or figure.high is None:
            return ""
        return f"[{self.number(figure.low, self.decimals)}, {self.number(figure.high, self.decimals)}]"

    def delta_interval(self, difference: Figure) -> str:
        """ "[−3.5, +2.5]", or nothing where no interval is known."""
        if difference.low is None or difference.high is None:
            return ""
        return f"[{self.delta(difference.low, self.decimals)}, {self.delta(difference.high, self.decimals)}]"

    @property
    def brief(self) -> int:
        return self.decimals if self.share else self.decimals - 1

    @property
    def note(self) -> str:
        """Unit and direction: "%, higher is better"."""
        direction = "" if self.better is Better.NEITHER else f"{self.better.value} is better"
        return ", ".join(part for part in ("%" if self.share else self.unit, direction) if part)

    @property
    def _scale(self) -> int:
        return 100 if self.share else 1


def measure(name: str, figures: Iterable[Figure]) -> Measure:
    """How `name` is written. A reward is a share where all its means lie in [0, 1]."""
    known = metric(name)
    share = (
        known.share
        if name in METRICS or name in RAW_METRICS
        else all(0 <= figure.value <= 1 for figure in figures)
    )
    decimals = 1 if share else DECIMALS.get(name, 3)
    return Measure(name, clean(known.label), known.better, decimals, share, known.unit)


def measures(evaluations: Sequence[Metrics]) -> list[Measure]:
    """The measures of all `evaluations` in the order to show them.

    Preference accuracy says little alone (it can rise while the task is unlearned), so accuracy stands
    before it even where it was not measured.
    """
    names = dict.fromkeys(name for metrics in evaluations for name in metrics)
    if "preference_accuracy" in names:
        names["accuracy"] = None
    ordered = sorted((name for name in names if name not in LEFT_TO_THE_REPORT), key=_rank)
    return [measure(name, [m[name] for m in evaluations if name in m]) for name in ordered]


def key_measures(evaluations: Sequence[Metrics]) -> list[Measure]:
    """What a stage line shows, the most telling first: likelihood, accuracy, rewards, preference accuracy.

    Preference accuracy only where accuracy was measured: a line has no room to say that it was not.
    """
    by_name = {shown.name: shown for shown in measures(evaluations)}
    likelihood = next((name for name in LIKELIHOOD if name in by_name), "")
    rewards = [name for name in by_name if name not in METRICS and not is_drawn(name)]
    wanted = [likelihood, *rewards]
    if any("accuracy" in metrics for metrics in evaluations):
        wanted = [likelihood, "accuracy", *rewards, "preference_accuracy"]
    return [by_name[name] for name in wanted if name in by_name]


def parent_indices(names: Sequence[str], parents: Mapping[str, str | None] | None) -> list[int | None]:
    """Where each policy's parent stands among `names`; None where it is not there. Without `parents`, each
    one comes from the one before it."""
    if parents is None:
        return [index - 1 if index else None for index in range(len(names))]
    places = {name: index for index, name in enumerate(names)}
    return [places.get(parents.get(name) or "") for name in names]


def before(
    evaluations: Sequence[Metrics], index: int, name: str, parents: Sequence[int | None]
) -> Figure | None:
    """`name` at the parent, or the nearest one above it that has it; None for what is relative to each one's
    own reference, where a difference would mean nothing."""
    if name in METRICS and METRICS[name].relative:
        return None
    above, seen = parents[index], {index}
    while above is not None and above not in seen:
        if name in evaluations[above]:
            return evaluations[above][name]
        seen.add(above)
        above = parents[above]
    return None


def is_zero_throughout(shown: Measure, evaluations: Sequence[Metrics]) -> bool:
    """A fault (repetition, empty responses, refusals) that no evaluation found: a word about it is enough."""
    figures = [metrics[shown.name] for metrics in evaluations if shown.name in metrics]
    return shown.name in FAULTS and all(figure.value == 0 for figure in figures)


def _rank(name: str) -> tuple[int, int]:
    if name not in METRICS:
        return (1, 0)
    return (2 if name in AFTER_REWARDS else 0, list(METRICS).index(name))
