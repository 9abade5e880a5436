"""The screen of `pt eval --compare`: each later model against the first, metric by metric.

Takes a finished comparison and words it; computes nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ptspec.evaluation.comparison import Comparison, Effect, Slice, Verdict, WinRate
from ptspec.evaluation.measurement import metric
from ptspec.events import Figure
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.lines import as_text, columns, hanging
from ptspec.report.measures import FAULTS, Measure, measure
from ptspec.report.sentence import in_words, rate_interval

STYLES = {Verdict.WORSE: "yellow", Verdict.NOT_SHOWN: "dim"}


@dataclass(frozen=True)
class Line:
    """One row: label, the two values, difference, interval, verdict, and how many prompts would tell more."""

    label: str
    a: str
    b: str
    difference: str
    interval: str
    verdict: str
    style: str = ""
    needed: str = ""


@dataclass(frozen=True)
class ComparisonTable:
    """A rich renderable, and plain text by `plain`. `data` names what the prompts were read from."""

    comparison: Comparison
    data: str = ""

    def lines(self, width: int, sentence_width: int | None = None) -> list[Text]:
        """The whole screen in lines of at most `width` cells (narrower than about 70 does not fit), the
        sentences in lines of `sentence_width`."""
        comparison = self.comparison
        lines = _facts(comparison, self.data, width)
        for b in range(1, len(comparison.names)):
            lines += [Text(), *_pair(comparison, b, width), *_by_slice(comparison, b, width)]
        return [*lines, Text(), *_sentences(comparison, sentence_width or width)]

    def plain(self, width: int | None = None) -> str:
        """As text. Where nobody looks on (a pipe), each sentence is one line, for grep."""
        piped = width is None and not sys.stdout.isatty()
        return as_text(self.lines(width or columns(), sys.maxsize if piped else None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)


def comparison_table(comparison: Comparison, data: str = "") -> ComparisonTable:
    """What `pt eval --compare` shows."""
    return ComparisonTable(comparison, data)


def comparison_text(comparison: Comparison, data: str = "", width: int | None = None) -> str:
    """The same as plain text, as wide as the terminal on stdout where no width is given."""
    return ComparisonTable(comparison, data).plain(width)


def _facts(comparison: Comparison, data: str, width: int) -> list[Text]:
    """What was compared and how, what was left out, and what to mind."""
    prompts = words.plural(comparison.shared, "prompt") + (f" of {clean(data)}" if data else "")
    if comparison.of is not None and comparison.of > comparison.shared:
        prompts += f" (of {words.count(comparison.of)}, by the seed)"
    if clusters := _clusters(comparison):
        prompts += f", {clusters}"
    tests = f"{words.plural(comparison.tests, 'test')} ({comparison.correction})"
    intervals = f"95 % intervals, where there is a verdict corrected for {tests}"
    facts = [prompts, "paired", intervals, f"seed {comparison.seed}"]
    lines = hanging("", " · ".join(facts), width)
    left_out = [
        f"{clean(name)} {words.count(rows)}"
        for name, rows in zip(comparison.names, comparison.left_out, strict=True)
        if rows
    ]
    if left_out:
        lines += hanging("", f"left out, as not all have them: {', '.join(left_out)}", width)
    notes = [line for note in comparison.notes for line in hanging("note: ", clean(note), width)]
    return [*map(Text, lines), *(Text(note, style="yellow") for note in notes)]


def _clusters(comparison: Comparison) -> str:
    """How many independent units the prompts are, where they are fewer."""
    whole = [effect for effect in comparison.effects if effect.rows == comparison.shared]
    if not any(effect.clusters < effect.rows for effect in whole):
        return ""
    by = f"by {clean(comparison.cluster)}" if comparison.cluster else "rows of one prompt"
    return f"in {words.plural(max(effect.clusters for effect in whole), 'cluster')} ({by})"


def _pair(comparison: Comparison, b: int, width: int) -> list[Text]:
    """Model `b` beside the first."""
    lines, zero = _rows(comparison, b)
    head = _head(comparison, b)
    beside = [replace(x, verdict=_joined(x.verdict, x.needed)) for x in lines]
    table = _table([head, *beside], "   ")
    notes: list[str] = []
    if max(line.cell_len for line in table) > width:
        table = _fitting([head, *lines], width)
        notes = [f"{x.label}: {x.needed}" for x in lines if x.needed]
    notes += [f"none in either: {', '.join(zero)}"] if zero else []
    return [*table, *(Text(line, style="dim") for note in notes for line in hanging("", note, width))]


def _head(comparison: Comparison, b: int) -> Line:
    letter = ascii_lowercase[b % 26]
    names = clean(comparison.names[0]), clean(comparison.names[b])
    return Line("", f"a: {names[0]}", f"{letter}: {names[1]}", f"{letter} − a", "", "")


def _joined(verdict: str, needed: str) -> str:
    return f"{verdict}; {needed}" if needed else verdict


def _rows(comparison: Comparison, b: int) -> tuple[list[Line], list[str]]:
    """The rows of model `b`, and the labels of faults that neither model has.

    Where preference accuracy is compared, accuracy stands before it even if it was not measured.
    """
    effects = [effect for effect in comparison.effects if effect.b == b]
    shown = {
        e.metric: measure(e.metric, [v[e.metric] for v in comparison.values if e.metric in v])
        for e in effects
    }
    zero = [shown[e.metric].label for e in effects if e.metric in FAULTS and not _seen(e)]
    lines: list[Line] = []
    for effect in effects:
        if effect.metric == "preference_accuracy" and "accuracy" not in shown:
            lines.append(Line("accuracy", words.NOTHING, words.NOTHING, "", "", "not measured", "dim"))
        if shown[effect.metric].label not in zero:
            lines.append(_effect(effect, shown[effect.metric]))
        if effect.metric == "loss":
            lines += _perplexity(comparison, b)
    return lines + [_win_rate(rate, b) for rate in comparison.win_rates if rate.b == b], zero


def _perplexity(comparison: Comparison, b: int) -> list[Line]:
    """The loss in other units: told, not tested once more."""
    values = [comparison.values[i].get("perplexity") for i in (0, b)]
    figures = [figure for figure in values if figure is not None]
    if len(figures) < 2:
        return []
    shown = measure("perplexity", figures)
    one, other = figures[0].value, figures[1].value
    first, second = shown.number(one, shown.decimals), shown.number(other, shown.decimals)
    change = shown.delta(other - one, shown.decimals)
    return [Line(shown.label, first, second, change, "", "as above", "dim")]


def _seen(effect: Effect) -> bool:
    return bool(effect.value_a or effect.value_b)


def _effect(effect: Effect, shown: Measure) -> Line:
    return Line(
        f"{shown.label} ({shown.unit})" if shown.unit else shown.label,
        _with_unit(shown, effect.value_a),
        _with_unit(shown, effect.value_b),
        shown.delta(effect.difference.value, shown.decimals),
        shown.delta_interval(effect.difference),
        effect.words,
        STYLES.get(effect.verdict, ""),
        not_shown(effect, shown),
    )


def _with_unit(shown: Measure, value: float) -> str:
    return shown.number(value, shown.decimals) + (" %" if shown.share else "")


def not_shown(effect: Effect, shown: Measure) -> str:
    """How large a difference these prompts would show, where none is."""
    if effect.verdict is not Verdict.NOT_SHOWN or effect.mde is None:
        return ""
    size = shown.number(effect.mde, shown.decimals)
    return f"{words.plural(effect.rows, 'prompt')} show ≥ {size} (80 % power)"


def _by_slice(comparison: Comparison, b: int, width: int) -> list[Text]:
    """Metric by metric, a line for each value of the column that the prompts were split by."""
    lines: list[Text] = []
    same: list[str] = []
    for name in dict.fromkeys(e.metric for one in comparison.slices for e in one.effects):
        found = [(one, e) for one in comparison.slices for e in one.effects if (e.metric, e.b) == (name, b)]
        if all(effect.is_described for _, effect in found) or not any(_seen(effect) for _, effect in found):
            continue
        if not any(effect.difference.value for _, effect in found):
            same.append(metric(name).label)
            continue
        figures = [Figure(value) for _, e in found for value in (e.value_a, e.value_b)]
        shown = measure(name, figures)
        head = replace(_head(comparison, b), label=f"{shown.label} by {clean(comparison.by or '')}")
        rows = [replace(_effect(effect, shown), label=_slice_label(one, effect)) for one, effect in found]
        lines += [Text(), *_fitting([head, *rows], width)]
    note = f"the same for every {clean(comparison.by or '')}: {clean(', '.join(same))}"
    return [*lines, *(Text(line, style="dim") for line in (hanging("", note, width) if same else []))]


def _slice_label(one: Slice, effect: Effect) -> str:
    return f"  {clean(one.value)} ({words.count(effect.rows)})"


def _fitting(lines: Sequence[Line], width: int) -> list[Text]:
    table = _table(lines, "   ")
    if max(line.cell_len for line in table) <= width:
        return table
    short = [replace(x, verdict=x.verdict.replace(Verdict.NOT_SHOWN.value, "not shown")) for x in lines]
    table = _table(short, "  ")
    if max(line.cell_len for line in table) <= width:
        return table
    return _table([replace(x, label=_brief(x.label)) for x in short], "  ")


def _brief(label: str) -> str:
    """Without its unit, and without the letter that the column's head has."""
    return re.sub(r"^win rate of \w, ", "win rate, ", re.sub(r"(?<=\w) \([^()]*\)$", "", label))


def _win_rate(rate: WinRate, b: int) -> Line:
    label = f"win rate of {ascii_lowercase[b % 26]}, {clean(rate.label)}"
    return Line(
        "  at equal length" if rate.controlled else label,
        "",
        "",
        words.percent(rate.rate.value),
        rate_interval(rate),
        rate.verdict.value,
        STYLES.get(rate.verdict, ""),
    )


def _table(lines: Sequence[Line], gap: str) -> list[Text]:
    """Labels and verdicts to the left, numbers to the right of their columns."""
    columns = [[line.label, line.a, line.b, line.difference, line.interval] for line in lines]
    widths = [max(len(row[i]) for row in columns) for i in range(5)]
    table = []
    for line, (label, *numbers) in zip(lines, columns, strict=True):
        text = gap.join(
            [label.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))]
        )
        table.append(Text.assemble(text, gap, (line.verdict, line.style)))
    table[0].stylize("bold")
    return table


def _sentences(comparison: Comparison, width: int) -> list[Text]:
    return [
        Text(line)
        for b in range(1, len(comparison.names))
        for line in hanging("", clean(in_words(comparison, b)), width)
    ]
