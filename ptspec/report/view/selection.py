"""The selection among a matrix's variants, in words and as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.selection import Combination, Rival, Selection, Variant
from ptspec.events import CheckedBound, CheckEvaluated, Figure
from ptspec.metrics import Better, metric
from ptspec.recipe.matrix import SEED
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.view.checks import check_view
from ptspec.report.view.measure import Measure, measure
from ptspec.report.view.verdicts import WORDS, detectable, p_value


@dataclass(frozen=True)
class VariantLine:
    """One combination of the axes but the seed.

    `value` with its unit, `spread` over the seeds or the interval of a single one; `change`: the selected one
    minus this, with `bounds`, the deciding interval; `verdict` in words; `why` it was excluded.
    """

    names: str
    settings: tuple[str, ...]
    value: str
    spread: str
    change: str
    bounds: str
    p: str
    verdict: str
    tone: str
    why: str
    is_picked: bool


@dataclass(frozen=True)
class SelectionView:
    """`head`: what the stage took over, `rest`: details."""

    stage: str
    head: str
    rest: tuple[str, ...]
    axes: tuple[str, ...]
    label: str
    lines: tuple[VariantLine, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences."""
        return (self.head, *self.rest)


def selection_view(found: Selection) -> SelectionView:
    """Return a selection for display."""
    shown = measure(found.metric, [one.value for one in found.variants if one.value is not None])
    return SelectionView(
        clean(found.stage),
        _head(found, shown),
        tuple(_rest(found, shown)),
        tuple(clean(axis) for axis in found.best.settings),
        shown.label,
        tuple(_line(found, index, shown) for index in range(len(found.combinations))),
    )


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Return "beta 0.5, learning_rate 5e-06"."""
    return ", ".join(f"{clean(axis)} {_plain(value)}" for axis, value in settings.items())


def _plain(value: Any) -> str:
    """Return a value as in the file, without zeros in an exponent: "5e-6"."""
    if isinstance(value, str):
        return clean(value)
    return clean(re.sub(r"(?<=\de)([+-])0+(?=\d)", r"\1", json.dumps(value, ensure_ascii=False)))


def _seeds(found: Selection) -> int:
    return len(found.best.variants)


def _named(one: Combination) -> str:
    """Return the combination's variant, or its settings if it has several."""
    return clean(one.variants[0]) if len(one.variants) == 1 else settings_in_words(one.settings)


def _head(found: Selection, shown: Measure) -> str:
    best, several = found.best, _seeds(found) > 1
    about = f" ({settings_in_words(_settings(found))})"
    number = len(found.combinations)
    of = words.plural(number, "combination" if several else "variant")
    over = f", in the mean of {_seeds(found)} seeds" if several else ""
    text = f"{clean(found.picked)}{about}: best {shown.label} of {of}{over}, {_value(best, shown)}"
    equal = [one for one in found.combinations if one is not best and _is_equal(one, best)]
    if equal:
        are = "is" if len(equal) == 1 else "are"
        text += f"; {words.plural(len(equal), 'other')} {are} equal, and the first is taken"
    left = sum(not one.is_kept for one in found.combinations)
    return f"{text}; {left} of {number} do not keep the checks" if left else text


def _settings(found: Selection) -> Mapping[str, Any]:
    picked = next((one for one in found.variants if one.name == found.picked), None)
    return picked.settings if picked is not None else found.best.settings


def _is_equal(one: Combination, best: Combination) -> bool:
    values = one.value, best.value
    return one.is_kept and all(values) and values[0].value == values[1].value  # type: ignore[union-attr]


def _value(one: Combination, shown: Measure) -> str:
    if one.value is None:
        return words.NOTHING
    text = shown.value(one.value.value)
    return text if one.spread is None else f"{text} {_spread(one, shown)}"


def _spread(one: Combination, shown: Measure) -> str:
    """Return the standard deviation over the seeds, "± 1.2"."""
    if one.spread is None:
        return shown.interval(one.value) if one.value is not None else ""
    return f"± {words.fixed(one.spread * (100 if shown.share else 1), shown.decimals)}"


def _rest(found: Selection, shown: Measure) -> Iterator[str]:
    if _seeds(found) > 1:
        yield from _handed_on(found, shown)
    after = found.runner_up
    if after is not None and after.rival is not None:
        yield _against(after, after.rival, found, shown)
    others = [one.rival for one in found.combinations if one.rival is not None]
    apart = sum(rival.is_distinguishable for rival in others)
    if len(others) > 1:
        yield f"distinguishable from {apart} of the {len(others)} others"
    if found.held_out is not None and found.best.value is not None:
        text = _optimism(found, found.best.value, found.held_out, shown)
        yield f"{text}; with other seeds it may be less" if _seeds(found) > 1 else text
    yield from map(clean, found.notes)


def _handed_on(found: Selection, shown: Measure) -> Iterator[str]:
    picked = next((one for one in found.variants if one.name == found.picked), None)
    if picked is not None and picked.value is not None:
        seed, value = _plain(picked.settings.get(SEED)), shown.value(picked.value.value)
        yield f"the first seed of it, {seed}, is handed on: {shown.label} {value}"


def _against(after: Combination, rival: Rival, found: Selection, shown: Measure) -> str:
    """Return "not distinguishable from dpo.3: difference +1.3 points, interval [−2.0, 4.5], …"."""
    name = _named(after)
    if rival.verdict is Verdict.TOO_FEW:
        return f"whether it differs from {name}, the next best, {found.rows} rows are too few to tell"
    verb = "distinguishable from" if rival.is_distinguishable else "not distinguishable from"
    over = f", corrected for {words.plural(found.tests, 'pair')}" if found.tests > 1 else ""
    interval = shown.delta_interval(rival.difference)
    text = f"{verb} {name}, the next best: difference {shown.points(rival.difference.value)}"
    text += f", interval {interval}{over}" if interval else ""
    if rival.is_distinguishable or rival.mde is None:
        return text
    return f"{text}; {words.plural(found.rows, 'prompt')} show ≥ {detectable(rival.mde, shown)}"


def _optimism(found: Selection, value: Figure, held_out: float, shown: Measure) -> str:
    """Return the selection bias of the value; `held_out`: the value without it."""
    by = value.value - held_out
    optimism = -by if metric(found.metric).better is Better.LOWER else by
    picked, left = shown.value(value.value), shown.value(held_out)
    how = "chosen by some of the rows and measured on the others"
    if optimism <= 0 or picked == left:
        return f"no optimism is seen in {picked}: {how} it is {left}"
    size = shown.points(abs(by)).lstrip("+−")
    return f"{picked} is optimistic by about {size}, chosen and measured on the same rows: {how} it is {left}"


def _line(found: Selection, index: int, shown: Measure) -> VariantLine:
    one = found.combinations[index]
    rival, is_picked = one.rival, index == found.chosen
    variants = [variant for variant in found.variants if variant.name in one.variants]
    why = "; ".join(text for variant in variants if (text := _why(found, variant)))
    state = "picked" if is_picked else "" if rival is None else _verdict(rival.verdict)
    return VariantLine(
        names=", ".join(map(clean, one.variants)),
        settings=tuple(_plain(value) for value in one.settings.values()),
        value=shown.value(one.value.value) if one.value is not None else words.NOTHING,
        spread=_spread(one, shown),
        change=shown.delta(rival.difference.value) if rival is not None else "",
        bounds=shown.delta_interval(rival.difference) if rival is not None else "",
        p=p_value(rival.p_corrected) if rival is not None else "",
        verdict=state if one.is_kept else "not kept",
        tone="bad" if not one.is_kept else "good" if is_picked else "",
        why=why,
        is_picked=is_picked,
    )


def _verdict(verdict: Verdict) -> str:
    told = {Verdict.BETTER: "distinguishable", Verdict.NOT_SHOWN: "not distinguishable"}
    return told.get(verdict, WORDS[verdict])


def _why(found: Selection, variant: Variant) -> str:
    """Return the checks that a variant fails, in words."""
    name = f"{clean(variant.name)}: " if _seeds(found) > 1 else ""
    texts = [*map(clean, variant.reasons), *map(_missed, variant.misses)]
    return name + "; ".join(texts) if texts else ""


def _missed(bound: CheckedBound) -> str:
    return check_view(CheckEvaluated(None, "", False, "warn", (bound,))).text
