"""The right answers of rows, as rewards compare with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ptspec.diagnostics import cut
from ptspec.rewards.matching import text_of

Golds = Sequence[tuple[str, ...] | None]
"""The acceptable right answers of each row; None if it has none."""

Silent = Callable[[str], str | None]
"""Returns why a right answer cannot be compared with ("hold no number"), or None if it can."""

SHOWN = 60


def right_answers(gold: object, takes_json: bool = False) -> tuple[str, ...] | None:
    """Return the acceptable answers in a column's value, None for no value and for an empty list.

    A list of texts or numbers is several answers, unless the reward `takes_json`. Messages become their last
    assistant's text; other lists and objects are JSON.
    """
    if gold is None:
        return None
    if isinstance(gold, str):
        return (gold,)
    if isinstance(gold, list | tuple) and gold and all(_is_message(one) for one in gold):
        return (text_of(gold),)
    if (
        isinstance(gold, list | tuple)
        and not takes_json
        and all(isinstance(g, str | int | float) for g in gold)
    ):
        return tuple(str(one) for one in gold) or None
    if isinstance(gold, list | tuple | Mapping) or (takes_json and isinstance(gold, bool)):
        return (json.dumps(gold, ensure_ascii=False, default=str),)
    return (str(gold),)


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and "role" in value


def not_compared(silent: Silent, golds: Golds) -> str | None:
    """Return "3 of 8 right answers, which hold no number (the first: "in Tarn")"; None if there are none."""
    given = [gold for gold in golds if gold]
    reasons = [[silent(one) for one in gold] for gold in given]
    mute = [(gold[0], why[0]) for gold, why in zip(given, reasons, strict=True) if all(why)]
    if not mute:
        return None
    first, reason = mute[0][0], Counter(reason for _, reason in mute).most_common(1)[0][0]
    return f'{len(mute):,} of {len(given):,} right answers, which {reason} (the first: "{cut(first, SHOWN)}")'
