"""Distinct n-grams over many responses, with the interval that resampling rows cannot give.

Counted in words and punctuation marks (every Chinese, Japanese or Korean character by itself), so that models
with different tokenizers can be compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ptspec.evaluation.statistics import CONFIDENCE, Tested, Values, jackknife_test

_SIGNS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W{_SIGNS}]+|[^\w\s]")


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def distinct(texts: Sequence[str], n: int, confidence: float = CONFIDENCE) -> Tested | None:
    """Different n-grams over all n-grams, of all `texts` together (Li et al. 2016), by the jackknife.

    A bootstrap would repeat rows, and so n-grams, and measure less than the sample has. None where no text
    has n words.
    """
    found = _left_out(texts, n)
    return None if found is None else jackknife_test(*found, confidence)


def distinct_difference(
    a: Sequence[str], b: Sequence[str], n: int, confidence: float = CONFIDENCE
) -> Tested | None:
    """The distinct n-grams of `b` less those of `a`, which answer the same prompts in the same order."""
    one, other = _left_out(a, n), _left_out(b, n)
    if one is None or other is None:
        return None
    return jackknife_test(other[0] - one[0], other[1] - one[1], confidence)


def _left_out(texts: Sequence[str], n: int) -> tuple[float, Values] | None:
    """The share over all texts, and without each of them."""
    grams = [_grams(words_of(text), n) for text in texts]
    total = sum(map(len, grams))
    if not total:
        return None
    holders = Counter(gram for of_text in grams for gram in set(of_text))
    own = np.array([sum(holders[gram] == 1 for gram in set(of_text)) for of_text in grams], dtype=np.float64)
    sizes = np.array([len(of_text) for of_text in grams], dtype=np.float64)
    rest = total - sizes
    share = len(holders) / total
    return share, np.where(rest > 0, (len(holders) - own) / np.maximum(rest, 1), share)


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
