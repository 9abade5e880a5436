"""`pt eval --compare … --show N`: the prompts whose answers differ most, with both answers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from ptspec.diagnostics import cut
from ptspec.evaluation.comparison import Change, Comparison
from ptspec.evaluation.measurement import RowMeasurement
from ptspec.metrics import DRAWN
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.lines import as_text, columns, hanging
from ptspec.report.view.comparison import SHOWN, pair_view
from ptspec.report.view.measure import Measure
from ptspec.report.view.order import LIKELIHOOD
from ptspec.report.view.sentence import measure_in

LONGEST = 400
INDENT = "   "


def metric_to_show(comparison: Comparison, b: int = 1) -> str:
    """Return the metric to inspect: the first that differs, else the first tested, else accuracy.

    Metrics of greedy answers come before those of sampled ones.
    """
    tested = pair_view(comparison, b).tested
    of_rows = [line for line in tested if line.value_a is not None]
    shown = [line for line in of_rows if line.verdict in SHOWN]
    found = sorted(shown or of_rows, key=lambda line: line.metric.startswith(DRAWN))
    return found[0].metric if found else "accuracy"


def changes_text(
    changes: Sequence[Change],
    comparison: Comparison,
    name: str,
    answers: tuple[int, int],
    width: int | None = None,
) -> str:
    """Return the changes in `name` between the first and the last model as plain text.

    `answers`: the number of differing answers, and of all.
    """
    shown = measure_in(comparison, name)
    models = comparison.names[0], comparison.names[-1]
    return as_text(
        changes_lines(changes, shown, (clean(models[0]), clean(models[1])), answers, width or columns())
    )


def changes_lines(
    changes: Sequence[Change], shown: Measure, models: tuple[str, str], answers: tuple[int, int], width: int
) -> list[Text]:
    """Return the changes in lines of at most `width` cells; answers are truncated at 400 characters."""
    a, b = models
    differ, of = answers
    same = f"{a} and {b} give the same answer to {words.count(of - differ)} of {words.plural(of, 'prompt')}"
    if of == 0:
        same = f"no prompt was answered by both {a} and {b}: the evaluation generates nothing"
    if not changes:
        return [Text(line) for line in hanging("", same, width)]
    lines = [Text(line) for line in hanging("", same, width)] if differ == 0 else []
    what = (
        f"answers that differ, biggest changes in {shown.label} first"
        if differ
        else f"biggest changes in {shown.label}"
    )
    lines += [Text(line, style="bold") for line in hanging("", f"{what}, {a} → {b}", width)]
    for number, change in enumerate(changes, start=1):
        lines += [Text(), *_change(number, change, shown, models, width)]
    return lines


def _change(number: int, change: Change, shown: Measure, models: tuple[str, str], width: int) -> list[Text]:
    """Return number, difference and prompt, then the expected and each model's answer."""
    lines = hanging(f"{number}. ", f"{_difference(change, shown)}   {_cut(change.a.prompt)}", width)
    is_likelihood = shown.name in LIKELIHOOD
    is_drawn = shown.name.startswith(DRAWN)
    said = [
        ("expected", change.a.expected),
        (models[0], _answer(change.a, is_likelihood, is_drawn)),
        (models[1], _answer(change.b, is_likelihood, is_drawn)),
    ]
    column = max(len(name) for name, _ in said)
    for name, text in said:
        if text is not None:
            lines += hanging(f"{INDENT}{name.ljust(column)}   ", text, width)
    return [Text(line) for line in lines]


def _difference(change: Change, shown: Measure) -> str:
    if shown.name in LIKELIHOOD and change.a.nll is not None and change.b.nll is not None:
        return f"log p(expected) {words.delta(change.a.nll - change.b.nll, 2)} nats"
    if not change.difference:
        return f"{shown.label} the same"
    # A share of a single prompt is not shown in percent.
    one = f"{shown.label} {words.delta(change.difference, 0)}" if shown.share else ""
    return one or f"{shown.label} {shown.points(change.difference)}"


def _answer(row: RowMeasurement, is_likelihood: bool, is_drawn: bool) -> str | None:
    """Return the model's answer and, for likelihoods, that of the expected answer.

    `is_drawn`: the metric is one of sampled answers, so the sampled one is shown.
    """
    response = row.sample if is_drawn and row.sample is not None else row.response
    answer = None if response is None else _cut(response) or "(empty)"
    if not is_likelihood or row.nll is None:
        return answer
    likelihood = f"log p(expected) {words.fixed(-row.nll, 2)} nats"
    return likelihood if answer is None else f"{likelihood}   {answer}"


def _cut(text: str) -> str:
    whole = " ".join(clean(text).split())
    return cut(whole, LONGEST)
