"""`pt eval --compare … --show N`: the prompts on which two models differ most, with both responses."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from ptspec.evaluation.comparison import Change, Comparison, Verdict
from ptspec.evaluation.measurement import metric
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.lines import as_text, columns, hanging

LONGEST = 400
INDENT = "   "


def telling_metric(comparison: Comparison, b: int = 1) -> str:
    """The metric to look into: the first that got worse, else the first that got better, else the first that
    differs at all, else accuracy."""
    effects = [effect for effect in comparison.effects if effect.b == b]
    for verdict in (Verdict.WORSE, Verdict.BETTER):
        for effect in effects:
            if effect.verdict is verdict:
                return effect.metric
    return next((effect.metric for effect in effects if effect.difference.value), "accuracy")


def changes_text(
    changes: Sequence[Change], name: str, models: tuple[str, str], width: int | None = None
) -> str:
    """The changes in the metric `name` between two models as plain text."""
    return as_text(changes_lines(changes, name, models, width or columns()))


def changes_lines(changes: Sequence[Change], name: str, models: tuple[str, str], width: int) -> list[Text]:
    """The changes in lines of at most `width` cells; responses are cut at 400 characters."""
    a, b = map(clean, models)
    label = clean(metric(name).label)
    if not changes:
        return [Text(f"no prompt on which {a} and {b} differ in {label}")]
    lines = [Text(f"biggest changes in {label}, {a} → {b}", style="bold")]
    for number, change in enumerate(changes, start=1):
        lines += [Text(), *_change(number, change, (a, b), width)]
    return lines


def _change(number: int, change: Change, models: tuple[str, str], width: int) -> list[Text]:
    """Number, difference and prompt, then what was expected and what each model said."""
    difference = words.delta(change.difference, 2)
    lines = hanging(f"{number}. ", f"{difference}   {_cut(change.a.prompt)}", width)
    said = [
        ("expected", change.a.expected),
        (models[0], change.a.response),
        (models[1], change.b.response),
    ]
    column = max(len(name) for name, text in said if text is not None) if any(t for _, t in said) else 0
    for name, text in said:
        if text is not None:
            lines += hanging(f"{INDENT}{name.ljust(column)}   ", _cut(text) or "(empty)", width)
    return [Text(line) for line in lines]


def _cut(text: str) -> str:
    whole = " ".join(clean(text).split())
    return whole if len(whole) <= LONGEST else whole[: LONGEST - 1] + "…"
