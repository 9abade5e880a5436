"""`auto_find_batch_size` at a constant number of rows per step: fewer rows per pass and more passes.

transformers' own takes fewer rows per step. The number of halvings is stored beside the checkpoints: a
resumed stage continues with the same batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptspec.recipe.batch_split import PASSES, PER_GENERATION, ROWS
from ptspec.store.files import write_json

FIELD = "auto_find_batch_size"
EVAL_ROWS = "per_device_eval_batch_size"
"""Halved too for a stage with evaluations during training: memory may run out in either."""
HALVED = "halved.json"


def halvings(checkpoints: Path) -> int:
    """Return how often the rows per pass have been halved."""
    try:
        return int(json.loads((checkpoints / HALVED).read_text(encoding="utf-8"))["times"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def write_halvings(checkpoints: Path, times: int) -> None:
    """Store how often the rows per pass have been halved."""
    write_json(checkpoints / HALVED, {"times": times})


def halved_in_words(times: int, *, is_measured: bool) -> str:
    """Return the message after memory ran out; `is_measured`: the stage is evaluated during training."""
    factor = 2**times
    text = (
        f"out of memory: the rows a pass are 1/{factor} from here on, over {factor} times the passes; "
        "a step learns from the same rows"
    )
    return f"{text}; an evaluation is the mean of smaller passes" if is_measured else text


def halved(config: Mapping[str, Any], defaults: Mapping[str, Any], times: int) -> dict[str, Any] | None:
    """Return the fields of `config` after so many halvings; None if they cannot be halved."""
    factor = 2**times
    rows = int(config.get(ROWS, defaults[ROWS]))
    if rows % factor:
        return None
    changed = {ROWS: rows // factor, PASSES: int(config.get(PASSES, defaults[PASSES])) * factor}
    if config.get(EVAL_ROWS) is not None:
        changed[EVAL_ROWS] = max(1, int(config[EVAL_ROWS]) // factor)
    if config.get(PER_GENERATION) is not None:
        changed[PER_GENERATION] = int(config[PER_GENERATION]) * factor
    return changed
