"""`auto_find_batch_size`, kept to the recipe: fewer rows a pass and as many more passes, so that each
optimizer step learns from the same rows. (transformers' own takes fewer rows a step.)

How far it came is written beside the checkpoints: a resumed stage goes on with the batches it had.
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
"""Halved too, of a stage that is measured while it trains: memory may run out in either."""
HALVED = "halved.json"


def halvings(checkpoints: Path) -> int:
    """How often the rows a pass were halved so far."""
    try:
        return int(json.loads((checkpoints / HALVED).read_text(encoding="utf-8"))["times"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def write_halvings(checkpoints: Path, times: int) -> None:
    write_json(checkpoints / HALVED, {"times": times})


def halved_in_words(times: int, *, is_measured: bool) -> str:
    """What is told after memory ran out; `is_measured`: on held-out rows while it trains."""
    factor = 2**times
    text = (
        f"out of memory: the rows a pass are 1/{factor} from here on, over {factor} times the passes; "
        "a step learns from the same rows"
    )
    return f"{text}; an evaluation is the mean of smaller passes" if is_measured else text


def halved(config: Mapping[str, Any], defaults: Mapping[str, Any], times: int) -> dict[str, Any] | None:
    """The fields of `config` that change when its rows a pass are halved so often; None where none can be."""
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
