"""JSON in a model's output, and equality of JSON values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)
_BEGIN = re.compile(r"[\[{]")
_MOST = 100
"""Number of possible starts of JSON tried per text."""


def json_of(text: str) -> tuple[Any] | None:
    """Return the value that the whole `text` is, in a 1-tuple; None if it is not JSON."""
    try:
        return (json.loads(text, parse_constant=_refuse),)
    except (ValueError, RecursionError):
        return None


def json_values(text: str) -> Iterator[Any]:
    """Yield the value in a model's answer.

    All of it, else its last fenced block, else its last object or list.
    """
    fenced = _FENCED.findall(text)
    for candidate in (text, *fenced[-1:]):
        if (found := json_of(candidate)) is not None:
            yield found[0]
            return
    inside = objects_in(text)
    yield from inside[-1:]


def objects_in(text: str) -> list[Any]:
    """Return the outermost JSON objects and lists in `text`, in order."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    found, at, tried = [], 0, 0
    while (match := _BEGIN.search(text, at)) is not None and tried < _MOST:
        tried += 1
        try:
            value, at = decoder.raw_decode(text, match.start())
            found.append(value)
        except (ValueError, RecursionError):
            at = match.end()
    return found


def same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal: 1 equals 1.0 and not true; key order is ignored."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return (type(one) is type(other) or _numbers(one, other)) and bool(one == other)


def _numbers(one: Any, other: Any) -> bool:
    return isinstance(one, int | float) and isinstance(other, int | float)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
