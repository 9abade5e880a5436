"""`comparison.json`: a comparison as a file, of a stage with its parent or of `pt eval --compare`.

Written whole, read back or not there: a file that is missing, damaged or of another version is made again
from the measurements.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.store.files import write_json
from ptspec.store.typed_json import from_json

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
        return from_json(Comparison, found)
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
