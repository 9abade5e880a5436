"""The score of each built-in reward for one completion.

Pure Python; jsonschema and math-verify are imported by the one function that needs each. A completion is any
text a model wrote: scoring raises nothing. None marks a row whose right answer the reward cannot compare
with.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from ptspec.rewards.json_schemas import fits, validator_of
from ptspec.rewards.json_text import json_of, json_values, same_json
from ptspec.rewards.letters import LETTERS, chosen_letter, chosen_word, letter_of_gold
from ptspec.rewards.matching import contains_word, normalise, same_text
from ptspec.rewards.numbers import is_expression, last_number, same_number

Options = Mapping[str, Any]
Score = Callable[[str, str], float | None]
"""`score(completion, gold)`; `gold` is "" for a reward without a column to compare with."""

MATH_SECONDS = 3
MATH_VERIFY = "math_verify"
SHORT = 60
"""Maximum characters of a completion that is tried as a whole expression."""


def exact_match(options: Options) -> Score:
    """Score 1 if completion and answer are equal after normalisation (`same_text`), else 0."""
    return lambda text, gold: float(same_text(text, gold))


def contains_answer(options: Options) -> Score:
    """Score 1 if the completion contains the answer as whole words (`contains_word`), else 0."""
    return lambda text, gold: float(contains_word(text, gold))


def regex(options: Options) -> Score:
    """Score 1 if the stripped completion matches `pattern` in full (with `search`: anywhere), else 0."""
    pattern = re.compile(options["pattern"])
    match = pattern.search if options.get("search", False) else pattern.fullmatch
    return lambda text, gold: float(match(text.strip()) is not None)


def length(options: Options) -> Score:
    """Score the number of words by `max` or `target`, between 0 and 1."""
    if "max" in options:
        return lambda text, gold: _up_to(len(text.split()), options["max"])
    return lambda text, gold: _near(len(text.split()), options["target"])


def _up_to(words: int, most: float) -> float:
    """Return 1 up to `most` words, then most/words; 0 for an empty completion."""
    return 0.0 if words == 0 else min(1.0, most / words)


def _near(words: int, target: float) -> float:
    """Return 1 at `target` words, falling linearly to 0 at none and at twice as many."""
    return max(0.0, 1.0 - abs(words - target) / target)


def json_schema(options: Options) -> Score:
    """Score 1 if the completion is JSON that conforms to `schema`, else 0."""
    validator = validator_of(options["schema"])
    return lambda text, gold: float(fits(validator, text))


def numeric_answer(options: Options) -> Score:
    """Score 1 if the last numbers are equal within `tolerance`, else 0; None without a number to compare.

    With math-verify installed, equivalent expressions count as equal too.
    """
    tolerance = Decimal(str(options.get("tolerance", 0)))
    symbolic = _math_verify() if find_spec(MATH_VERIFY) else None

    def score(text: str, gold: str) -> float | None:
        if symbolic and symbolic(text, gold):
            return 1.0
        if is_expression(gold):
            return 0.0 if symbolic else None
        right = same_number(text, gold, tolerance)
        return None if right is None else float(right)

    return score


def no_number(gold: str, options: Options) -> str | None:
    """Return why a right answer has no number to compare with, or None."""
    if is_expression(gold):
        return (
            None if find_spec(MATH_VERIFY) else f"are expressions, and math-verify is not installed: {EXTRA}"
        )
    return "hold no number" if last_number(gold) is None else None


EXTRA = "pip install 'ptspec[math]'"


def math_answer(options: Options) -> Score:
    """Score 1 if answer and completion are equivalent expressions by math-verify, else 0.

    A right answer without digits and LaTeX is compared as text.
    """
    equal = _math_verify()

    def score(text: str, gold: str) -> float:
        if not any(sign.isdigit() or sign in "\\$^" for sign in gold) and len(gold.strip()) > 1:
            return float(same_text(text, gold) or contains_word(text, gold))
        return float(equal(text, gold))

    return score


def _math_verify() -> Callable[[str, str], bool]:
    """Return an equality test of expressions with a time limit of a few seconds.

    math-verify's time limits are signals, which only the main thread can use; other threads have none.
    """
    from math_verify import parse, verify  # type: ignore[import-not-found, unused-ignore]

    def equal(text: str, gold: str) -> bool:
        seconds = MATH_SECONDS if threading.current_thread() is threading.main_thread() else None
        given = _as_latex(gold) if is_expression(gold) else gold
        wanted, said = (parse(one, parsing_timeout=seconds) for one in (given, text))
        if wanted and not said and len(text) <= SHORT:
            said = parse(_as_latex(text), parsing_timeout=seconds)
        return bool(wanted and said and verify(wanted, said, timeout_seconds=seconds))

    return equal


def _as_latex(text: str) -> str:
    """Return `text` as a formula, unless it contains one."""
    return text if any(sign in text for sign in ("$", "\\boxed", "\\(", "\\[")) else f"${text.strip()}$"


def choice_letter(options: Options) -> Score:
    """Score 1 if the completion chooses the answer's letter, else 0; None if the answer names none."""
    letters = options.get("letters", LETTERS)

    def score(text: str, gold: str) -> float | None:
        wanted = letter_of_gold(gold)
        return None if wanted is None else float(chosen_letter(text, letters) == wanted)

    return score


def no_letter(gold: str, options: Options) -> str | None:
    """Return why a right answer names no letter, or None."""
    return "name no letter" if letter_of_gold(gold) is None else None


def choice_word(options: Options) -> Score:
    """Score 1 if the completion chooses the answer's word, else 0; None if it is none of `words`."""
    words = _words(options)

    def score(text: str, gold: str) -> float | None:
        wanted = normalise(gold)
        return float(chosen_word(text, words) == wanted) if wanted in words else None

    return score


def no_word(gold: str, options: Options) -> str | None:
    """Return why a right answer is none of the words, or None."""
    words = _words(options)
    return None if normalise(gold) in words else f"are not among the words {', '.join(words)}"


def _words(options: Options) -> list[str]:
    return [normalise(word) for word in options.get("words", ("yes", "no"))]


def json_answer(options: Options) -> Score:
    """Score 1 if the completion holds JSON equal to the answer, else 0; None if that is not JSON."""

    def score(text: str, gold: str) -> float | None:
        wanted = json_of(gold)
        if wanted is None:
            return None
        try:
            return float(any(same_json(said, wanted[0]) for said in json_values(text)))
        except RecursionError:
            return 0.0

    return score


def no_json(gold: str, options: Options) -> str | None:
    """Return why a right answer is not JSON, or None."""
    return "are not JSON" if json_of(gold) is None else None


def tags(options: Options) -> Score:
    """Score 1 if the completion consists of the elements `tags` in order, each once, else 0."""
    names = options.get("tags", ["think", "answer"])
    pattern = re.compile(r"\s*".join(_element(name) for name in names), re.DOTALL)
    return lambda text, gold: float(pattern.fullmatch(text.strip()) is not None)


def _element(tag: str) -> str:
    """Return the pattern of <tag>…</tag> with neither tag inside."""
    opening, closing = re.escape(f"<{tag}>"), re.escape(f"</{tag}>")
    return f"{opening}(?:(?!{opening}|{closing}).)*{closing}"
