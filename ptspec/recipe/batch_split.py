"""Split the rows of an optimizer step over several processes, keeping their total."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROWS, PASSES, PER_GENERATION = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "steps_per_generation",
)


def split(config: Mapping[str, Any], processes: int) -> dict[str, int] | None:
    """Return the fields of `config`, completed by defaults, that change for `processes`.

    Passes are reduced first: a pass keeps its rows. None if the rows cannot be split evenly.
    """
    rows, passes = _number(config, ROWS), _number(config, PASSES)
    given = config.get(PER_GENERATION)
    per_generation = given if isinstance(given, int) else None
    for fewer in range(processes, 0, -1):
        smaller = processes // fewer
        if processes % fewer or passes % fewer or rows % smaller or (per_generation or 0) % fewer:
            continue
        shared = {ROWS: rows // smaller, PASSES: passes // fewer}
        return shared if per_generation is None else shared | {PER_GENERATION: per_generation // fewer}
    return None


def rows_of_a_step(config: Mapping[str, Any]) -> int:
    """Return the rows of an optimizer step in one process."""
    return _number(config, ROWS) * _number(config, PASSES)


def _number(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 1
