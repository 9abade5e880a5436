"""Choose the built-in reward that scores correctness from the right answers, if the recipe names none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from ptspec.rewards.json_text import json_of
from ptspec.rewards.letters import LETTERS, WORDS, letter_of_gold
from ptspec.rewards.matching import normalise
from ptspec.rewards.numbers import is_expression, is_number
from ptspec.rewards.right_answers import right_answers
from ptspec.rewards.scorers import MATH_VERIFY

SHORT_WORDS, SHORT_SIGNS = 10, 80
FEWEST_LETTERS = 5
"""A to E are accepted as choices, even if no right answer is one of the last of them."""
MOST = 0.9
"""Share of right answers that must be short for matching short answers."""


@dataclass(frozen=True)
class Choice:
    """A built-in reward with its options, and the reason ("all 160 right answers are numbers")."""

    function: str
    why: str
    options: Mapping[str, Any] = field(default_factory=dict)


def choose(answers: Sequence[object]) -> Choice | None:
    """Return the reward that suits `answers`, values of a right-answer column; None if there is none."""
    golds = [gold for answer in answers if (gold := right_answers(answer)) is not None]
    texts = [text for gold in golds for text in gold]
    if not texts:
        return None
    whole = f"all {len(golds):,} right answers are" if len(golds) > 1 else "the right answer is"
    if all(map(_is_letter, texts)):
        return Choice("choice_letter", f"{whole} single letters", {"letters": _letters(texts)})
    if (words := _words(texts)) is not None:
        return Choice("choice_word", f"{whole} {' or '.join(words)}", {"words": list(words)})
    for is_one, function, kind in _KINDS:
        if all(map(is_one, texts)):
            return Choice(function(), f"{whole} {kind}")
    short = sum(map(_is_short, texts))
    if short >= MOST * len(texts):
        return Choice("contains_answer", f"{'' if short == len(texts) else 'nearly '}{whole} short texts")
    return Choice(
        "exact_match", f"the right answers are long texts ({len(texts) - short:,} of {len(texts):,})"
    )


def _is_letter(text: str) -> bool:
    bare = text.strip().strip("()[].:*")
    return letter_of_gold(text) is not None and (len(bare) == 1 and (bare.isupper() or bare in "abcdefgh"))


def _letters(texts: Sequence[str]) -> str:
    found = {letter_of_gold(text) or "A" for text in texts}
    return LETTERS[: max(FEWEST_LETTERS, LETTERS.index(max(found)) + 1)]


def _words(texts: Sequence[str]) -> tuple[str, ...] | None:
    """Return the pair of words, or the two English pairs, that every text belongs to."""
    found = {normalise(text) for text in texts}
    both = (*WORDS[0], *WORDS[1])
    return next((pair for pair in (*WORDS, both) if found <= set(pair)), None)


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") and json_of(text) is not None


def _is_short(text: str) -> bool:
    return len(text.split()) <= SHORT_WORDS and len(text) <= SHORT_SIGNS


def _math() -> str:
    return "math_answer" if find_spec(MATH_VERIFY) else "numeric_answer"


_KINDS: Sequence[tuple[Callable[[str], bool], Callable[[], str], str]] = (
    (is_number, lambda: "numeric_answer", "numbers"),
    (_is_json, lambda: "json_answer", "JSON"),
    (lambda text: is_number(text) or is_expression(text), _math, "numbers or expressions"),
)
