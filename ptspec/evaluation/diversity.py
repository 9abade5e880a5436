"""Distinct n-grams over many responses, with an interval that resampling rows cannot give.

Counted in words and punctuation marks (every Chinese, Japanese or Korean character separately), so that
models with different tokenizers are comparable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.stats.clusters import FEWEST, Groups, Values, units
from ptspec.evaluation.stats.estimates import Estimate, Few
from ptspec.evaluation.stats.tests import jackknife

_SIGNS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W{_SIGNS}]+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, in lower case."""
    return _WORD.findall(text.lower())


class Words:
    """The words of texts as numbers: computed once, for n-grams of every n."""

    def __init__(self, texts: Sequence[str]) -> None:
        words = [words_of(text) for text in texts]
        number: dict[str, int] = {}
        codes = (number.setdefault(word, len(number)) for word in chain.from_iterable(words))
        self.codes = np.fromiter(codes, dtype=np.int64, count=sum(map(len, words)))
        self.vocabulary = len(number)
        self.texts = len(texts)
        self.text_of = np.repeat(np.arange(len(texts)), [len(of_text) for of_text in words])

    def _grams(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
        """Return a number per n-gram, equal for equal ones, and the index of its text."""
        if len(self.codes) < n:
            return np.empty(0, np.int64), np.empty(0, np.intp)
        last = len(self.codes) - n + 1
        grams = self.codes[:last]
        for k in range(1, n):
            _, grams = np.unique(grams * self.vocabulary + self.codes[k : last + k], return_inverse=True)
        whole = self.text_of[:last] == self.text_of[n - 1 :]
        return grams[whole], self.text_of[:last][whole]

    def left_out(self, n: int, groups: Groups | None = None) -> tuple[float, Values] | None:
        """Return the share of distinct n-grams, and the same without each text (or cluster in `groups`).

        None if no text has n words.
        """
        grams, text = self._grams(n)
        total = len(grams)
        if not total:
            return None
        unit = text if groups is None else groups[text]
        count = self.texts if groups is None else units(self.texts, groups)
        different, gram = np.unique(grams, return_inverse=True)
        holds = np.sort(gram * np.int64(count) + unit)
        holds = holds[np.append(True, holds[1:] != holds[:-1])]  # each n-gram once a unit that has it
        holder = holds % count
        alone = np.bincount(holds // count, minlength=len(different))[holds // count] == 1
        own = np.bincount(holder[alone], minlength=count)
        rest = total - np.bincount(unit, minlength=count)
        share = len(different) / total
        return share, np.where(rest > 0, (len(different) - own) / np.maximum(rest, 1), share)


def distinct(words: Words, n: int, groups: Groups | None = None) -> Estimate | None:
    """Return distinct n-grams over all n-grams of all texts (Li et al. 2016), with the jackknife.

    A bootstrap would repeat rows, and so n-grams, and underestimate. None if no text has n words.
    """
    found = words.left_out(n, groups)
    return None if found is None else _jackknife(*found)


def distinct_difference(
    a: Words, b: Words, n: int, groups: Groups | None = None
) -> tuple[tuple[float, float], Estimate] | None:
    """Return the distinct n-grams of `a` and of `b`, for the same prompts in order, and b − a."""
    one, other = a.left_out(n, groups), b.left_out(n, groups)
    if one is None or other is None:
        return None
    return (one[0], other[0]), _jackknife(other[0] - one[0], other[1] - one[1])


def _jackknife(value: float, left_out: Values) -> Estimate:
    return Few(value, len(left_out)) if len(left_out) < FEWEST else jackknife(value, left_out)
