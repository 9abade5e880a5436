"""The screen of `pt eval --compare`: tested and descriptive metrics of each later model against the first.

Only lays out ptspec/report/view/comparison.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ptspec.evaluation.comparison import Comparison
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.lines import COLOURS, as_text, columns, hanging, parts_in_lines
from ptspec.report.view.comparison import EffectLine, PairView, comparison_view, slice_lines

STYLES = {**COLOURS, "none": "dim"}
Row = tuple[str, str, str, str, str, str]
"""Label, both values, difference, interval, p."""


@dataclass(frozen=True)
class ComparisonTable:
    """A rich renderable, and plain text by `plain`.

    `data`: the file of the prompts; `answers`: per model b how many answers differ from the first's, and of
    how many; `whole`: a line for each descriptive metric too.
    """

    comparison: Comparison
    data: str = ""
    answers: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    whole: bool = False

    def lines(self, width: int, sentence_width: int | None = None) -> list[Text]:
        """Return the screen in lines of at most `width` cells (at least about 70).

        Sentences are in lines of `sentence_width`.
        """
        found = comparison_view(self.comparison, self.data)
        lines = [Text(line) for line in parts_in_lines("", found.facts, width)]
        lines[0].stylize("bold", 0, len(found.facts[0]))
        lines += [Text(line, style="yellow") for n in found.notes for line in hanging("note: ", n, width)]
        for b, pair in enumerate(found.pairs, start=1):
            lines += [Text(), *_pair(pair, width, whole=self.whole), *_by_slice(self.comparison, b, width)]
        return [*lines, Text(), *self._sentences(found.pairs, sentence_width or width)]

    def _sentences(self, pairs: Sequence[PairView], width: int) -> list[Text]:
        lines = []
        for b, pair in enumerate(pairs, start=1):
            text = pair.sentence
            if self.answers.get(b, (0, 0)) != (0, 0):
                text += f" {answers_differ(*self.answers[b])}."
            lines += [Text(line) for line in hanging("", text, width)]
        return lines

    def plain(self, width: int | None = None) -> str:
        """Return plain text. Without a terminal (a pipe) each sentence is one line, for grep."""
        piped = width is None and not sys.stdout.isatty()
        return as_text(self.lines(width or columns(), sys.maxsize if piped else None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width)


def answers_differ(differ: int, of: int) -> str:
    """Return "16 of 160 answers differ"."""
    return f"{words.count(differ)} of {words.plural(of, 'answer')} differ"


def _pair(pair: PairView, width: int, *, whole: bool) -> list[Text]:
    lines = [*pair.tested, *pair.described] if whole else [*pair.tested]
    table = _fitting(_head(pair, bool(pair.tested)), lines, width)
    if whole or not pair.described_in_brief:
        return table
    label = "described"
    column = max(len(label), 12) + 3
    brief = parts_in_lines(label.ljust(column), pair.described_in_brief, width)
    return [*(table if pair.tested else []), *(Text(line, style="dim") for line in brief)]


def _head(pair: PairView, is_tested: bool) -> Row:
    return (pair.head if is_tested else "", pair.a, pair.b, "Δ", "95 %", "p" if is_tested else "")


def _by_slice(comparison: Comparison, b: int, width: int) -> list[Text]:
    """Return per metric a line for each value of the slicing column."""
    if not comparison.slices:
        return []
    found, same = slice_lines(comparison, b)
    names = clean(comparison.names[0]), clean(comparison.names[b])
    lines: list[Text] = []
    for one in found:
        lines += [Text(), *_fitting((one.label, *names, "Δ", "95 %", "p"), one.lines, width)]
    if found:
        tests = f"{comparison.slice_correction} over {comparison.slice_tests}"
        lines.append(Text(f"corrected by {tests}", style="dim"))
    note = f"the same for every {clean(comparison.by or '')}: {', '.join(same)}"
    return [*lines, *(Text(line, style="dim") for line in (hanging("", note, width) if same else []))]


def _fitting(head: Row, lines: Sequence[EffectLine], width: int) -> list[Text]:
    """Return the table with reasons after the verdicts if they fit, else on lines below."""
    table = _table(head, lines, "   ", lambda line: "; ".join(filter(None, (line.word, line.reason))))
    if _widest(table) <= width:
        return table
    for gap, cut in (("   ", False), ("  ", False), ("  ", True)):
        shown = [replace(line, label=line.brief or line.label) for line in lines] if cut else lines
        table = _table(head, shown, gap, lambda line: line.word)
        if _widest(table) <= width:
            break
    reasons = [f"{line.label.strip()} {line.reason.partition(' show ')[2]}" for line in lines if line.reason]
    if not reasons:
        return table
    prompts = dict.fromkeys(line.reason.partition(" show ")[0] for line in lines if line.reason)
    if len(prompts) > 1:
        reasons = [f"{line.label.strip()}: {line.reason}" for line in lines if line.reason]
        below = parts_in_lines("", reasons, width)
    else:
        below = parts_in_lines(f"{next(iter(prompts))} would show ", reasons, width)
    return [*table, *(Text(line, style="dim") for line in below)]


def _widest(lines: Sequence[Text]) -> int:
    return max(line.cell_len for line in lines)


def _table(
    head: Row, lines: Sequence[EffectLine], gap: str, verdict: Callable[[EffectLine], str]
) -> list[Text]:
    """Return the table with left-aligned labels and verdicts, and right-aligned numbers."""
    rows = [head, *((x.label, x.a, x.b, x.change, x.interval, x.p) for x in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    table = []
    for row, line in zip(rows, [None, *lines], strict=True):
        label, *numbers = row
        cells = [label.ljust(widths[0]), *(n.rjust(w) for n, w in zip(numbers, widths[1:], strict=True))]
        text = Text(gap.join(cells))
        if line is None:
            text.stylize("bold")
        elif words_of := verdict(line):
            text.append(gap + words_of, style=STYLES.get(line.tone, ""))
        text.rstrip()
        table.append(text)
    return table


def comparison_text(
    comparison: Comparison,
    data: str = "",
    width: int | None = None,
    answers: Mapping[int, tuple[int, int]] | None = None,
    *,
    whole: bool = False,
) -> str:
    """Return the output of `pt eval --compare` as plain text, by default in the terminal's width."""
    return ComparisonTable(comparison, data, answers or {}, whole).plain(width)
