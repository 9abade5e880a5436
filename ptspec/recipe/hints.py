"""Parts of messages: suggestions for unknown names, lists of names, sizes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from ptspec.methods import all_of_them
from ptspec.methods.merge import MERGE


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return 'did you mean "x"?' for the known name closest to `word`, if one is close."""
    by_shape = {_shape(name): name for name in known}
    close = get_close_matches(_shape(word), by_shape, 1, 0.6 if len(word) <= 5 else 0.7)
    return f'did you mean "{by_shape[close[0]]}"?' if close else None


class Elsewhere(NamedTuple):
    """A key of other programs.

    The `name` of the same field here, the `place` for its value, or `words`. All None: there is no
    equivalent.
    """

    name: str | None = None
    place: str | None = None
    words: str | None = None
    extra: str = ""

    def hint(self, known: Iterable[str], pointer: str) -> str | None:
        """Return the hint at `pointer`, in an object with the keys `known`.

        None if it does not belong there.
        """
        if self.words:
            return self.words
        name = self.name or (self.place or "").rpartition("/")[2]
        if name in set(known):
            return f'did you mean "{name}"?{self.extra}'
        return f"goes to {self.place}{self.extra}" if self.place and self.place != pointer else None


def elsewhere(key: str) -> Elsewhere | None:
    """Return what `key` is in other programs; None if none has it."""
    from ptspec.recipe import other_programs

    word = _shape(key)
    extra = other_programs.EXTRA.get(word, "")
    if word in other_programs.RENAMED:
        return Elsewhere(name=other_programs.RENAMED[word], extra=extra)
    if word in other_programs.PLACES:
        return Elsewhere(place=other_programs.PLACES[word], extra=extra)
    if word in other_programs.WORDS:
        return Elsewhere(words=other_programs.WORDS[word])
    return Elsewhere() if word in other_programs.NOTHING else None


def method_elsewhere(name: str) -> str | None:
    """Return the hint for a method under its name in other programs."""
    word, known = _shape(name), [*all_of_them(), MERGE]
    for method in known:
        if word in method.aliases:
            return f'did you mean "{method.name}"?'
        for variant in method.variants:
            if word in variant.aliases:
                return f'"{method.name}", with {in_json(variant.config)}'
    words = ((one.name, one.in_place_of[word]) for one in known if word in one.in_place_of)
    return next((f'"{name}" {said}' for name, said in words), None)


def in_json(config: Mapping[str, object]) -> str:
    """Return fields as written in a recipe's "config": '"beta": 0.1, "loss_type": "ipo"'."""
    return json.dumps(config)[1:-1]


def listed(names: Iterable[str], most: int = 16) -> str:
    """Return names in a line, truncated after `most`."""
    found = list(names)
    return ", ".join(found[:most]) + (", …" if len(found) > most else "")


def first_of(names: Sequence[str], most: int) -> str:
    """Return "a, b, c and 2 more": names in a line, those after `most` counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def bytes_in_words(count: float) -> str:
    """Return "58 MB", "11.3 GB" (decimal units, as disks and cards are sold)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{count:.0f} B"


def _shape(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")
