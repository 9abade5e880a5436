"""What each built-in reward pays for one completion. Pure Python; jsonschema and math-verify are imported by
the one function that needs each.

A completion is what a model wrote: any text at all gets a number and raises nothing. None stands for a row
that the reward cannot judge by its right answer.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from ptspec.rewards.json_schemas import fits, validator_of
from ptspec.rewards.matching import contains_word, last_number, same_text, within

Options = Mapping[str, Any]
Score = Callable[[str, str], float | None]
"""`score(completion, gold)`; `gold` is "" for a reward that compares with no column."""

MATH_SECONDS = 3
EXPRESSION_SIGNS = "$\\"
"""What tells that a right answer is an expression: its last number alone says nothing."""


def exact_match(options: Options) -> Score:
    return lambda text, gold: float(same_text(text, gold))


def contains_answer(options: Options) -> Score:
    return lambda text, gold: float(contains_word(text, gold))


def regex(options: Options) -> Score:
    pattern = re.compile(options["pattern"])
    match = pattern.search if options.get("search", False) else pattern.fullmatch
    return lambda text, gold: float(match(text.strip()) is not None)


def length(options: Options) -> Score:
    if "max" in options:
        return lambda text, gold: _up_to(len(text.split()), options["max"])
    return lambda text, gold: _near(len(text.split()), options["target"])


def _up_to(words: int, most: float) -> float:
    """1 up to `most` words, then most/words. Nothing said is worth nothing."""
    return 0.0 if words == 0 else min(1.0, most / words)


def _near(words: int, target: float) -> float:
    """1 at `target` words, falling evenly to 0 at none and at twice as many."""
    return max(0.0, 1.0 - abs(words - target) / target)


def json_schema(options: Options) -> Score:
    validator = validator_of(options["schema"])
    return lambda text, gold: float(fits(validator, text))


def numeric_answer(options: Options) -> Score:
    tolerance = Decimal(str(options.get("tolerance", 0)))
    symbolic = _math_verify() if find_spec("math_verify") else None

    def score(text: str, gold: str) -> float | None:
        if symbolic and symbolic(text, gold):
            return 1.0
        if any(sign in gold for sign in EXPRESSION_SIGNS):
            return 0.0 if symbolic else None
        said, wanted = last_number(text), last_number(gold)
        if wanted is None:
            return None
        return float(said is not None and within(said, wanted, tolerance))

    return score


def _math_verify() -> Callable[[str, str], bool]:
    """Equality of expressions, given up after a few seconds: what a model writes may take for ever.

    math-verify's time-outs are signals, which only the main thread can have; in another there are none.
    """
    from math_verify import parse, verify  # type: ignore[import-not-found, unused-ignore]

    def equal(text: str, gold: str) -> bool:
        seconds = MATH_SECONDS if threading.current_thread() is threading.main_thread() else None
        wanted, said = (parse(one, parsing_timeout=seconds) for one in (gold, text))
        return bool(wanted and said and verify(wanted, said, timeout_seconds=seconds))

    return equal


def tags(options: Options) -> Score:
    names = options.get("tags", ["think", "answer"])
    pattern = re.compile(r"\s*".join(_element(name) for name in names), re.DOTALL)
    return lambda text, gold: float(pattern.fullmatch(text.strip()) is not None)


def _element(tag: str) -> str:
    """<tag>…</tag> with neither of the two inside."""
    opening, closing = re.escape(f"<{tag}>"), re.escape(f"</{tag}>")
    return f"{opening}(?:(?!{opening}|{closing}).)*{closing}"
