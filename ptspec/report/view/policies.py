"""The figures of a run's policies, each with its change from its parent as in `comparison.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ptspec import methods
from ptspec.evaluation.comparison import Comparison, Verdict
from ptspec.evaluation.measurement import Measurement
from ptspec.events import Figure, MetricChange, StageComparison
from ptspec.methods.types import Headline, Rows
from ptspec.metrics import METRICS
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.view.measure import Measure
from ptspec.report.view.order import key_measures, one_line_measures
from ptspec.report.view.verdicts import TONES, WORDS, verdict_of

if TYPE_CHECKING:
    from ptspec.evaluation.targets import Target

LEGEND = "▲▼ better, worse: paired 95 % interval, corrected for the number of tests"
JUDGED_ALONE = ("win_rate", "win_rate_lc")
"""Metrics that are comparisons with the parent themselves: their own figure was tested."""


@dataclass(frozen=True)
class Policy:
    """The evaluated base model or stage.

    `method`: the last one that trained it; `accuracy`: the scorer of correct responses.
    """

    name: str
    metrics: Mapping[str, Figure]
    comparison: StageComparison | None = None
    preference_over: str | None = None
    method: str = ""
    accuracy: str | None = None

    @property
    def learns_preferences(self) -> bool:
        """Whether it was trained on pairs or labels, so that preference accuracy is its objective."""
        method = methods.find(self.method)
        return method is not None and method.rows in (Rows.PREFERENCE, Rows.UNPAIRED_PREFERENCE)


def policies(
    measured: Sequence[Measurement], targets: Sequence[Target], compared: Mapping[str, Comparison]
) -> list[Policy]:
    """Return the policies for display; `compared`: the comparison with the parent, by name."""
    found = []
    for one, target in zip(measured, targets, strict=True):
        told = compared[one.name].of_stage() if one.name in compared else None
        by = one.settings.accuracy_in_words
        found.append(Policy(one.name, one.shown, told, one.preference_over, target.method or "", by))
    return found


@dataclass(frozen=True)
class Cell:
    """One figure of one policy.

    `value` has no unit, `interval` is its own, `change` from the parent with `bounds`, the deciding interval;
    `note`: its reference: "(over sft)".
    """

    metric: str
    value: str
    interval: str = ""
    change: str = ""
    bounds: str = ""
    verdict: Verdict = Verdict.DESCRIBED
    note: str = ""

    @property
    def mark(self) -> str:
        """The sign of its verdict."""
        return self.verdict.mark

    @property
    def word(self) -> str:
        """Its verdict in words."""
        return WORDS[self.verdict]

    @property
    def tone(self) -> str:
        """The tone of its verdict."""
        return TONES[self.verdict]


@dataclass(frozen=True)
class StageLines:
    """The key figures of all policies: a column per metric with a cell per policy, None if missing."""

    shown: tuple[Measure, ...]
    columns: tuple[tuple[Cell | None, ...], ...] = field(default_factory=tuple)

    @property
    def is_marked(self) -> bool:
        """Whether any cell has a mark."""
        return any(cell and cell.mark for column in self.columns for cell in column)


def cell(shown: Measure, policy: Policy) -> Cell | None:
    """Return the figure of `policy` in a metric; None if not measured."""
    figure = policy.metrics.get(shown.name)
    if figure is None:
        return None
    plain = Cell(shown.name, shown.number(figure.value), shown.interval(figure), note=_note(shown, policy))
    found = policy.comparison.changes.get(shown.name) if policy.comparison else None
    if found is None:
        return plain
    return _changed(plain, shown, found)


def _changed(plain: Cell, shown: Measure, found: MetricChange) -> Cell:
    verdict = verdict_of(found.verdict)
    if shown.name in JUDGED_ALONE:
        return replace(plain, verdict=verdict)
    difference = found.difference
    return replace(
        plain,
        change=shown.delta(difference.value),
        bounds=shown.delta_interval(difference),
        verdict=verdict,
    )


def _note(shown: Measure, policy: Policy) -> str:
    """Return the reference of a relative metric."""
    if not (shown.name in METRICS and METRICS[shown.name].relative):
        return ""
    over = policy.preference_over
    if shown.name in JUDGED_ALONE:
        over = policy.comparison.parent if policy.comparison else None
    return f"(over {clean(over)})" if over else ""


def stage_lines(policies: Sequence[Policy], trained_for: Sequence[str] = ()) -> StageLines:
    """Return the key figures of `policies`.

    Preference accuracy only for those that were trained for it, and differ from their reference.
    """
    evaluations = [policy.metrics for policy in policies]
    found = [
        (shown, tuple(_key_cell(shown, policy) for policy in policies))
        for shown in key_measures(evaluations, trained_for)
    ]
    kept = [(shown, column) for shown, column in found if any(column)]
    return StageLines(tuple(shown for shown, _ in kept), tuple(column for _, column in kept))


def _key_cell(shown: Measure, policy: Policy) -> Cell | None:
    if shown.name == "preference_accuracy" and not (policy.learns_preferences and _has_moved(policy)):
        return None
    return cell(shown, policy)


def _has_moved(policy: Policy) -> bool:
    """Return whether the policy differs from its reference: with zero margins accuracy is meaningless."""
    margin = policy.metrics.get("reward_margin")
    if margin is None:
        return True
    ends = (margin.value, margin.low, margin.high)
    return any(end is not None and round(abs(end), 2) > 0 for end in ends)


def also(policies: Sequence[Policy], further: Sequence[Measure] = ()) -> list[str]:
    """Return what the last policy's line omits: `further` measures, then descriptive ones.

    From its parent to it; those that are 0 in both in one part at the end.
    """
    if not policies:
        return []
    last = policies[-1]
    parent = _parent(policies)
    pair = [policy for policy in (parent, last) if policy is not None]
    described = one_line_measures([policy.metrics for policy in pair])
    parts = [_from_to(shown, pair) for shown in further if shown.name in last.metrics]
    zero = [shown for shown in described if is_zero(shown, pair)]
    parts += [
        _from_to(shown, pair) for shown in described if shown not in zero and shown.name in last.metrics
    ]
    if zero:
        parts.append(f"{', '.join(shown.brief for shown in zero)}: 0 %")
    return parts


def accuracy_by(said: Iterable[str | None]) -> list[str]:
    """Return the scorers of the evaluations: "accuracy by choice_letter: …"."""
    return [f"accuracy by {clean(text)}" for text in dict.fromkeys(said) if text]


def relative_to(policies: Sequence[Policy]) -> list[str]:
    """Return the references of preferences: "preference accuracy and margin: sft over base, dpo over sft"."""
    pairs = [
        f"{clean(policy.name)} over {clean(policy.preference_over)}"
        for policy in policies
        if policy.preference_over and "preference_accuracy" in policy.metrics
    ]
    return [f"preference accuracy and margin: {', '.join(pairs)}"] if pairs else []


def _parent(policies: Sequence[Policy]) -> Policy | None:
    compared = policies[-1].comparison
    return next((p for p in policies if compared is not None and p.name == compared.parent), None)


def is_zero(shown: Measure, policies: Sequence[Policy]) -> bool:
    """Return whether a metric in percent is 0 for every policy."""
    return shown.is_zero([p.metrics[shown.name].value for p in policies if shown.name in p.metrics])


def _from_to(shown: Measure, pair: Sequence[Policy]) -> str:
    """Return "length 12.7 → 9.7 tokens"; for a relative metric the value and its reference."""
    note = _note(shown, pair[-1])
    figures = [
        policy.metrics[shown.name] for policy in (pair[-1:] if note else pair) if shown.name in policy.metrics
    ]
    return from_to(shown, [figure.value for figure in figures]) + (f" {note}" if note else "")


def from_to(shown: Measure, values: Sequence[float]) -> str:
    """Return "length 12.7 → 9.7 tokens", "distinct-2 27.2 → 34.1 %"."""
    unit = "%" if shown.share else ("" if shown.unit == "nats/token" else shown.unit)
    text = " → ".join(shown.number(value) for value in values)
    return " ".join(filter(None, (shown.brief, text, unit)))


def training_figures(latest: Mapping[str, float], name: str, most: int = 2) -> list[str]:
    """Return the method's last logged numbers ("loss 0.58", …), for a stage without evaluation."""
    method = methods.find(name)
    return logged(method.headline, latest)[:most] if method else []


def logged(headlines: Sequence[Headline], metrics: Mapping[str, float]) -> list[str]:
    """Return the numbers under the keys of `headlines`: "loss 0.58"; "—" for a void one."""
    values = [(h, h.value(metrics)) for h in headlines if h.key in metrics]
    return [f"{h.label} {'—' if value is None else words.number(value, h.format)}" for h, value in values]


def held_out(measured: tuple[str, float] | None) -> list[str]:
    """Return the last evaluation on held-out rows during training: "eval_loss 0.4284"."""
    return [] if measured is None else [f"{measured[0]} {words.number(measured[1])}"]
