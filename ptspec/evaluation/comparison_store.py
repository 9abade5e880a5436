"""`comparison.json`: a comparison as a file, of a stage with its parent or of `pt eval --compare`.

Written whole, read back or not there: a file that is missing, damaged or of another version is made again
from the measurements.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ptspec.diagnostics import InputError
from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.store.files import write_json

COMPARISON = "comparison.json"
FORMAT = 2


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as a JSON object; verdicts by their words."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(comparison), default=lambda value: value.value))
    return {"format": FORMAT, **found}


def save_comparison(folder: Path, comparison: Comparison) -> None:
    """Write `comparison.json` to `folder`, whole."""
    write_json(folder / COMPARISON, as_json(comparison))


def load_comparison(folder: Path) -> Comparison | None:
    """The comparison that was saved in `folder`; None where there is none that this version can read."""
    try:
        found = json.loads((folder / COMPARISON).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            return None
        comparison: Comparison = _build(Comparison, found)
        return comparison
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def comparison_of(
    before: Measurement, after: Measurement, stored: Comparison | None = None
) -> Comparison | None:
    """`after` against `before`: `stored`, where it is of these two, else made now. None where they have no
    prompt in common."""
    if stored is not None and _is_of(stored, before, after):
        return stored
    from ptspec.evaluation.paired.compare import compare  # NumPy, which a stored one does without
    from ptspec.evaluation.paired.pairing import stored_judgement

    try:
        return compare([before, after], judgement=stored_judgement(before, after))
    except InputError:
        return None


def _is_of(stored: Comparison, before: Measurement, after: Measurement) -> bool:
    fingerprints = (before.fingerprint, after.fingerprint)
    is_whole = stored.of == stored.shared
    return None not in fingerprints and stored.fingerprints == fingerprints and is_whole


def _build(hint: Any, value: Any) -> Any:
    """A value of the annotated type from its JSON. Raises `ValueError`, `KeyError` or `TypeError` where it
    is none."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and type(None) in parts:
            return None
        (hint,) = [part for part in parts if part is not type(None)]
        return _build(hint, value)
    if origin is tuple:
        return tuple(_build(parts[0], item) for item in _of(list, value))
    if origin is Mapping or origin is dict:
        return {name: _build(parts[1], item) for name, item in _of(dict, value).items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if isinstance(hint, type) and is_dataclass(hint):
        given, hints = _of(dict, value), _hints(hint)
        return hint(**{field.name: _build(hints[field.name], given[field.name]) for field in fields(hint)})
    if hint is float:
        return float(_of((int, float), value))
    return _of(hint, value)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _of(kind: Any, value: Any) -> Any:
    is_number_for_flag = isinstance(value, bool) and kind is not bool
    if is_number_for_flag or not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value
