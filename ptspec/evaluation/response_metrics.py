"""Metrics that are the mean of a number of each response: one line a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ptspec.evaluation.measurement import RowMeasurement


def number(value: float | None) -> float | None:
    """Return a value of a row as a float; None where the row has none."""
    return None if value is None else float(value)


def _of_text(value: Callable[[str], float]) -> Callable[[RowMeasurement], float | None]:
    """Apply `value` to a row's response; None for a row without one."""
    return lambda row: None if row.response is None else float(value(row.response))


RESPONSE_METRICS: Mapping[str, Callable[[RowMeasurement], float | None]] = {
    "response_length": lambda row: number(row.response_tokens),
    "response_characters": _of_text(len),
    "finished": lambda row: number(row.finished),
    "repetition": lambda row: row.repetition,
    "refusals": lambda row: number(row.refused),
    "empty": _of_text(lambda text: not text.strip()),
}
"""Name in `ptspec.metrics.METRICS` → a row's number, None for a row without one."""
