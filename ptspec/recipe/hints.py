"""Words for messages: what a person may have meant by a name that is not there, names in a line, bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from ptspec.methods import all_of_them
from ptspec.methods.merge import MERGE


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """'did you mean "x"?' for the name nearest to `word`, if one is near."""
    by_shape = {_shape(name): name for name in known}
    close = get_close_matches(_shape(word), by_shape, 1, 0.6 if len(word) <= 5 else 0.7)
    return f'did you mean "{by_shape[close[0]]}"?' if close else None


class Elsewhere(NamedTuple):
    """A key of other programs: the `name` of the same field here, the `place` where it is said, or `words`.

    All None: there is nothing like it here."""

    name: str | None = None
    place: str | None = None
    words: str | None = None
    extra: str = ""

    def hint(self, known: Iterable[str], pointer: str) -> str | None:
        """What to say at `pointer`, in an object that has the keys `known`; None where this is not the place
        to say it."""
        if self.words:
            return self.words
        name = self.name or (self.place or "").rpartition("/")[2]
        if name in set(known):
            return f'did you mean "{name}"?{self.extra}'
        return f"goes to {self.place}{self.extra}" if self.place and self.place != pointer else None


def elsewhere(key: str) -> Elsewhere | None:
    """What other programs mean by `key`; None where none of them has it."""
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
    """What to write for a method that others have under this name."""
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
    """'"beta": 0.1, "loss_type": "ipo"': fields as a recipe's "config" has them."""
    return json.dumps(config)[1:-1]


def listed(names: Iterable[str], most: int = 16) -> str:
    """Names in a line, cut after `most`."""
    found = list(names)
    return ", ".join(found[:most]) + (", …" if len(found) > most else "")


def first_of(names: Sequence[str], most: int) -> str:
    """ "a, b, c and 2 more": names in a line, those after `most` counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def bytes_in_words(count: float) -> str:
    """ "58 MB", "11.3 GB" (decimal units, as disks and cards are sold)."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{count:.0f} B"


def _shape(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")
