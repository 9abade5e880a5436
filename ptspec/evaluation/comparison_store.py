"""`comparison.json`: a comparison as a file, of a stage with its parent or of `pt eval --compare`.

For a stage that took over a variant, the variants too. Written atomically; a missing or damaged file, or one
of another version, is computed again from the measurements.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.selection import Selection
from ptspec.store.files import write_json
from ptspec.store.typed_json import from_json

COMPARISON = "comparison.json"
FORMAT = 2
VARIANTS = "variants"
"""Key of the selection among a matrix's variants."""


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON object; verdicts in words."""
    return {"format": FORMAT, **_plain(comparison)}


def _plain(value: Comparison | Selection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(value), default=lambda value: value.value))
    return found


def save_comparison(folder: Path, comparison: Comparison) -> None:
    """Write `comparison.json` to `folder`, atomically."""
    write_json(folder / COMPARISON, as_json(comparison))


def load_comparison(folder: Path) -> Comparison | None:
    """Return the comparison in `folder`; None if there is none that this version can read."""
    try:
        return from_json(Comparison, _read(folder))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def save_selection(folder: Path, selection: Selection) -> None:
    """Add a selection to `comparison.json` in `folder`."""
    try:
        found = _read(folder)
    except (OSError, ValueError):
        found = {"format": FORMAT}
    write_json(folder / COMPARISON, {**found, VARIANTS: selection_json(selection)})


def selection_json(selection: Selection) -> dict[str, Any]:
    """Return a selection as a JSON object, with whether it is distinguishable from the next best."""
    after = selection.runner_up
    apart = after.rival.is_distinguishable if after is not None and after.rival is not None else None
    return {**_plain(selection), "distinguishable_from_next_best": apart}


def load_selection(folder: Path) -> Selection | None:
    """Return the selection among variants of the stage in `folder`; None without."""
    try:
        return read_selection(_read(folder)[VARIANTS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_selection(value: Any) -> Selection | None:
    """Return the selection in a value of `selection_json`; None for another value."""
    try:
        return from_json(Selection, value)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / COMPARISON).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError("no comparison of this version")
    return found


def comparison_of(
    before: Measurement, after: Measurement, stored: Comparison | None = None
) -> Comparison | None:
    """Return `after` against `before`: `stored` if it is of these two, else computed.

    None if they have no prompt in common.
    """
    if stored is not None and _is_of(stored, before, after):
        return stored
    from ptspec.evaluation.paired.compare import compare  # imports NumPy, not needed for a stored one
    from ptspec.evaluation.paired.pairing import stored_judgement

    try:
        return compare([before, after], judgement=stored_judgement(before, after))
    except InputError:
        return None


def _is_of(stored: Comparison, before: Measurement, after: Measurement) -> bool:
    fingerprints = (before.fingerprint, after.fingerprint)
    is_whole, is_named = stored.of == stored.shared, stored.names == (before.name, after.name)
    return None not in fingerprints and stored.fingerprints == fingerprints and is_whole and is_named
