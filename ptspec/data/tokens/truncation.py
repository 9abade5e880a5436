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
from ptspec.recipe.effective_config import EffectiveConfig

ORPO_LENGTH = 512
"""What ORPO's trainer takes where `max_length` is null."""


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
    if settings.stage.method.online or settings.value("packing"):
        return None
    value = settings.value("max_length")
    if value is None and settings.stage.method.name == "orpo":
        return ORPO_LENGTH
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def truncated(whole: Sequences, settings: EffectiveConfig) -> tuple[Sequences, Truncation]:
    """What the stage's trainer holds of a row (nothing of one that it drops), and what it did to it."""
    most = limit(settings)
    if most is None:
        return whole, Truncation.WHOLE
    keeps_end = settings.value("truncation_mode") == "keep_end"
    return _RULES.get(settings.stage.method.name, _sft)(whole, most, keeps_end)


_Rule = Callable[[Sequences, int, bool], tuple[Sequences, Truncation]]


def _sft(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    held = tuple(one.last(most) if keeps_end else one.first(most) for one in whole)
    if not any(any(one.learned) for one in held):
        return (), Truncation.DROPPED
    return held, _changed(whole, most)


def _dpo(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    if not keeps_end and any(one.prompt >= most for one in whole):
        return (), Truncation.DROPPED
    held = tuple(one.last(most) if keeps_end else one.first(most) for one in whole)
    return held, _changed(whole, most)


def _orpo(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    held = tuple(one.first(max(most, one.prompt)) for one in whole)
    lost = not all(any(one.learned) for one in held)
    return held, Truncation.LOST if lost else _changed(whole, most)


def _reward(whole: Sequences, most: int, keeps_end: bool) -> tuple[Sequences, Truncation]:
    return (
        (whole, Truncation.WHOLE) if _changed(whole, most) is Truncation.WHOLE else ((), Truncation.DROPPED)
    )


def _changed(whole: Sequences, most: int) -> Truncation:
    return Truncation.CUT if any(len(one.ids) > most for one in whole) else Truncation.WHOLE


_RULES: dict[str, _Rule] = {"sft": _sft, "dpo": _dpo, "kto": _dpo, "orpo": _orpo, "reward": _reward}
