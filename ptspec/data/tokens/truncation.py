"""How TRL 1.16's trainers treat rows longer than `max_length`.

SFT truncates at the end (`truncation_mode` keep_end: at the start) and drops rows without learned tokens
left; DPO and KTO drop rows whose prompt alone fills it and truncate the others; ORPO truncates answers, even
to nothing, and drops no row; a reward model's trainer drops every row with a longer answer. Online methods do
not truncate prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from ptspec.data.tokens.encoded import Sequences
from ptspec.methods.types import Cut
from ptspec.recipe.effective_config import EffectiveConfig

CUT_BY = ("packing", "max_length", "truncation_mode")
"""The fields of a stage's config that decide truncation."""


class Truncation(Enum):
    """What a trainer does with a row."""

    WHOLE = "whole"
    CUT = "cut"
    LOST = "answer lost"
    """The row is kept without learned tokens."""
    DROPPED = "dropped"


def limit(settings: EffectiveConfig) -> int | None:
    """Return the maximum length of the stage's trainer, in tokens; None if it does not truncate."""
    tokens = settings.stage.method.tokens
    if tokens.length is None or settings.value("packing"):
        return None
    value = settings.value(tokens.length)
    if value is None:
        return tokens.length_of_null
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def truncated(whole: Sequences, settings: EffectiveConfig) -> tuple[Sequences, Truncation]:
    """Return what the stage's trainer holds of a row (empty if dropped), and what it did to it."""
    most = limit(settings)
    if most is None:
        return whole, Truncation.WHOLE
    keeps_end = settings.value("truncation_mode") == "keep_end"
    return _RULES[settings.stage.method.tokens.cut](whole, most, keeps_end)


_Rule = Callable[[Sequences, int, bool], tuple[Sequences, Truncation]]


def _row(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    held = tuple(one.last(most) if keeps_end else one.first(most) for one in whole)
    if not any(any(one.learned) for one in held):
        return (), Truncation.DROPPED
    return held, _changed(whole, most)


def _behind_prompt(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    if not keeps_end and any(one.prompt >= most for one in whole):
        return (), Truncation.DROPPED
    held = tuple(one.last(most) if keeps_end else one.first(most) for one in whole)
    return held, _changed(whole, most)


def _answer(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    held = tuple(one.first(max(most, one.prompt)) for one in whole)
    lost = not all(any(one.learned) for one in held)
    return held, Truncation.LOST if lost else _changed(whole, most)


def _dropped(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    return (
        (whole, Truncation.WHOLE) if _changed(whole, most) is Truncation.WHOLE else ((), Truncation.DROPPED)
    )


def _changed(whole: Sequences, most: int) -> Truncation:
    return Truncation.CUT if any(len(one.ids) > most for one in whole) else Truncation.WHOLE


def _never(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    return whole, Truncation.WHOLE


_RULES: dict[Cut, _Rule] = {
    Cut.ROW: _row,
    Cut.BEHIND_PROMPT: _behind_prompt,
    Cut.ANSWER: _answer,
    Cut.DROPPED: _dropped,
    Cut.NEVER: _never,
}
