"""What becomes of rows that are longer than `max_length`, as each TRL trainer of 1.16 treats them.

SFT cuts at the end (`truncation_mode` keep_end: at the start) and drops rows in which nothing to learn is
left; DPO and KTO drop rows whose prompt alone fills it and cut the others; ORPO cuts answers, to nothing if
need be, and drops no row; a reward model's trainer drops every row with a longer answer. Online methods cut
no prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from ptspec.data.tokens.encoded import Sequences
from ptspec.methods.types import Cut
from ptspec.recipe.effective_config import EffectiveConfig

CUT_BY = ("packing", "max_length", "truncation_mode")
"""The fields of a stage's config that decide what is cut."""


class Truncation(Enum):
    WHOLE = "whole"
    CUT = "cut"
    LOST = "answer lost"
    """The row stays, with nothing to learn in it."""
    DROPPED = "dropped"


def limit(settings: EffectiveConfig) -> int | None:
    """The length at which the stage's trainer cuts; None where it cuts nothing."""
    tokens = settings.stage.method.tokens
    if tokens.length is None or settings.value("packing"):
        return None
    value = settings.value(tokens.length)
    if value is None:
        return tokens.length_of_null
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def truncated(whole: Sequences, settings: EffectiveConfig) -> tuple[Sequences, Truncation]:
    """What the stage's trainer holds of a row (nothing of one that it drops), and what it did to it."""
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
