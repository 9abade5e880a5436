"""A comparison as lines: tested metrics with interval, p and verdict, and descriptive ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ptspec.evaluation.comparison import Comparison, Effect, Slice, Verdict, WinRate
from ptspec.events import Figure
from ptspec.metrics import METRICS
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.view.measure import Measure, measure
from ptspec.report.view.order import in_order
from ptspec.report.view.policies import from_to
from ptspec.report.view.sentence import in_words, measure_in
from ptspec.report.view.verdicts import TONES, WORDS, p_value, reason

WIN_RATE = Measure("win_rate", "win rate", "win rate", METRICS["win_rate"].better, 1, True, "")

SHOWN = (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True)
class EffectLine:
    """One metric of a pair.

    `a`, `b` with their unit if it is percent; `reason`: what these prompts could detect; `figure`: the
    difference (of a win rate: the rate) with the shown interval; `plain`: the 95 % interval without
    correction; `prompts`: how many, and how many independent groups; `is_missing`: the metric was not
    measured.
    """

    metric: str
    label: str
    note: str
    a: str
    b: str
    change: str
    interval: str
    p: str
    verdict: Verdict
    reason: str
    figure: Figure
    value_a: float | None
    value_b: float | None
    brief: str = ""
    plain: str = ""
    prompts: str = ""
    is_missing: bool = False

    @property
    def mark(self) -> str:
        """The sign of its verdict."""
        return self.verdict.mark

    @property
    def word(self) -> str:
        """Its verdict in words."""
        return "not measured" if self.is_missing else WORDS[self.verdict]

    @property
    def tone(self) -> str:
        """The tone of its verdict."""
        return "none" if self.is_missing else TONES[self.verdict]

    @property
    def is_tested(self) -> bool:
        """Whether it is listed among the tests."""
        return self.verdict is not Verdict.DESCRIBED or self.is_missing


@dataclass(frozen=True)
class PairView:
    """Model `b` against `a`. `tested` metrics have verdicts, significant ones first; `described` do not."""

    a: str
    b: str
    head: str
    tested: tuple[EffectLine, ...]
    described: tuple[EffectLine, ...]
    described_in_brief: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class SliceLines:
    """One metric for each value of a column, with its number of `prompts`."""

    label: str
    lines: tuple[EffectLine, ...]


@dataclass(frozen=True)
class ComparisonView:
    """A comparison: what was compared and how (`facts`), remarks (`notes`), and each pair."""

    facts: tuple[str, ...]
    notes: tuple[str, ...]
    pairs: tuple[PairView, ...]


def comparison_view(found: Comparison, data: str = "") -> ComparisonView:
    """Return a comparison for display; `data` is the file of the prompts."""
    pairs = tuple(pair_view(found, b) for b in range(1, len(found.names)))
    return ComparisonView(_facts(found, data), _notes(found), pairs)


def _facts(found: Comparison, data: str) -> tuple[str, ...]:
    names = [clean(name) for name in found.names]
    prompts = words.plural(found.shared, "prompt") + (f" of {clean(data)}" if data else "")
    if found.of is not None and found.of > found.shared:
        prompts += f" (of {words.count(found.of)}, by the seed)"
    if clusters := _clusters(found):
        prompts += f", {clusters}"
    title = f"{names[1]} vs {names[0]}" if len(names) == 2 else f"{', '.join(names[1:])} vs {names[0]}"
    return title, f"{prompts}, paired, 95 % intervals"


def _clusters(found: Comparison) -> str:
    """Return the number of independent units, if smaller than that of prompts."""
    whole = [effect for effect in found.effects if effect.rows == found.shared]
    if not any(effect.clusters < effect.rows for effect in whole):
        return ""
    by = f"by {clean(found.cluster)}" if found.cluster else "rows of one prompt"
    return f"in {words.plural(max(effect.clusters for effect in whole), 'cluster')} ({by})"


def _notes(found: Comparison) -> tuple[str, ...]:
    left_out = [
        f"{clean(name)} {words.count(rows)}"
        for name, rows in zip(found.names, found.left_out, strict=True)
        if rows
    ]
    missing = [f"left out, as not all have them: {', '.join(left_out)}"] if left_out else []
    return (*missing, *map(clean, found.notes))


def of_slice(found: Comparison, one: Slice) -> Comparison:
    """Return the comparison on the prompts of one slice, with the correction over all slices."""
    return replace(
        found,
        shared=one.rows,
        effects=one.effects,
        win_rates=one.win_rates,
        slices=(),
        tests=found.slice_tests,
        correction=found.slice_correction,
    )


def pair_view(found: Comparison, b: int) -> PairView:
    """Return model `b` against the first."""
    effects = [e for e in found.effects if e.b == b]
    rates = [r for r in found.win_rates if r.b == b]
    by_name = {effect.metric: effect_line(effect, found) for effect in effects}
    if "preference_accuracy" in by_name and "accuracy" not in by_name:
        by_name["accuracy"] = not_measured("accuracy")
    lines = [by_name[name] for name in in_order(by_name)]
    lines += [rate_line(rate) for rate in rates]
    tested = [line for line in lines if line.is_tested]
    described = [line for line in lines if not line.is_tested]
    head = f"tested ({found.correction} over {found.tests})" if found.tests > 1 else "tested"
    return PairView(
        clean(found.names[0]),
        clean(found.names[b]),
        head,
        tuple(sorted(tested, key=lambda line: not (line.verdict in SHOWN or line.is_missing))),
        tuple(described),
        tuple(_in_brief(described, found)),
        clean(in_words(found, b)),
    )


def effect_line(effect: Effect, found: Comparison) -> EffectLine:
    """Return the line of an effect."""
    shown = measure_in(found, effect.metric)
    is_all = effect.rows == found.shared or effect.verdict is Verdict.DESCRIBED
    return EffectLine(
        metric=effect.metric,
        label=shown.label if is_all else f"{shown.label} ({words.count(effect.rows)})",
        note=shown.note,
        a=shown.value(effect.value_a),
        b=shown.value(effect.value_b),
        change=shown.delta(effect.difference.value),
        interval=shown.delta_interval(effect.difference),
        p=p_value(effect.p_corrected) if effect.verdict is not Verdict.DESCRIBED else "",
        verdict=effect.verdict,
        reason=reason(effect, shown),
        figure=effect.difference,
        value_a=effect.value_a,
        value_b=effect.value_b,
        brief=shown.brief,
        plain=shown.delta_interval(effect.plain),
        prompts=_prompts(effect),
    )


def _prompts(found: Effect | WinRate) -> str:
    rows = words.count(found.rows)
    return rows if found.rows == found.clusters else f"{rows} in {words.plural(found.clusters, 'cluster')}"


def not_measured(name: str) -> EffectLine:
    """Return a line without values: accuracy precedes preference accuracy even if not measured."""
    return EffectLine(
        metric=name,
        label=measure(name, ()).label,
        note="",
        a=words.NOTHING,
        b=words.NOTHING,
        change="",
        interval="",
        p="",
        verdict=Verdict.DESCRIBED,
        reason="",
        figure=Figure(0.0),
        value_a=None,
        value_b=None,
        is_missing=True,
    )


def rate_line(rate: WinRate) -> EffectLine:
    """Return a judge's win rate: how often the response of b is preferred, against one half."""
    how = ", equal length" if rate.controlled else ""
    return EffectLine(
        metric=rate.metric,
        label=f"win rate, judge {clean(rate.judge)}{how}",
        note=f"{words.plural(rate.ties, 'tie')}, counted half",
        a="",
        b=words.percent(rate.rate.value),
        change="",
        interval=WIN_RATE.interval(rate.rate),
        p=p_value(rate.p_corrected),
        verdict=rate.verdict,
        reason=reason(rate, WIN_RATE),
        figure=rate.rate,
        value_a=None,
        value_b=None,
        brief=f"win rate{how}",
        plain=WIN_RATE.interval(rate.plain),
        prompts=_prompts(rate),
    )


def _in_brief(described: Iterable[EffectLine], found: Comparison) -> list[str]:
    """Return one part per descriptive metric; those that are 0 in both in one part at the end."""
    parts, zero = [], []
    for line in described:
        shown = measure_in(found, line.metric)
        values = [value for value in (line.value_a, line.value_b) if value is not None]
        if shown.is_zero(values):
            zero.append(shown.brief)
        else:
            parts.append(from_to(shown, values))
    return [*parts, f"{', '.join(zero)}: 0 %"] if zero else parts


def slice_lines(found: Comparison, b: int) -> tuple[tuple[SliceLines, ...], tuple[str, ...]]:
    """Return each tested metric by value of the column, and the labels of those that differ nowhere."""
    told: list[SliceLines] = []
    same: list[str] = []
    names = dict.fromkeys(e.metric for one in found.slices for e in one.effects if e.b == b)
    for name in in_order(names):
        of_metric = [(one, e) for one in found.slices for e in one.effects if (e.metric, e.b) == (name, b)]
        if all(effect.is_described for _, effect in of_metric):
            continue
        shown = measure_in(found, name)
        if not any(effect.difference.value for _, effect in of_metric):
            same.append(shown.label)
            continue
        lines = tuple(_slice_line(one, effect, found) for one, effect in of_metric)
        told.append(SliceLines(f"{shown.label} by {clean(found.by or '')}", lines))
    return tuple(told), tuple(same)


def _slice_line(one: Slice, effect: Effect, found: Comparison) -> EffectLine:
    line = effect_line(effect, found)
    return replace(line, label=f"  {clean(one.value)} ({words.count(effect.rows)})", reason="")
