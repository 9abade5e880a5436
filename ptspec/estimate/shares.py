"""The share of each part of a combined source, and its number of rows."""

from __future__ import annotations

from collections.abc import Mapping

from ptspec.recipe.sources import Concat, Mix, Until


def _mixed(mix: Mix, trained: Mapping[str, int]) -> tuple[Mapping[str, float], int]:
    """Return each source's share and the number of rows.

    Rows are drawn until one source is exhausted: in the mean, as many as the first exhausted one allows.
    """
    least = min if mix.until is Until.FIRST else max
    return mix.weights, least(
        round(rows / share) for name, rows in trained.items() if (share := mix.weights[name])
    )


def _joined(concat: Concat, trained: Mapping[str, int]) -> tuple[Mapping[str, float], int]:
    """Return each source's share and the number of rows: of each source its fraction."""
    taken = {name: round(rows * concat.fractions[name]) for name, rows in trained.items()}
    rows = sum(taken.values())
    return {name: count / rows if rows else 0.0 for name, count in taken.items()}, rows


def shares_and_rows(source: Mix | Concat, rows: Mapping[str, int]) -> tuple[Mapping[str, float], int]:
    """Return the share of each part of `source` and the total, given the parts' numbers of `rows`."""
    return _mixed(source, rows) if isinstance(source, Mix) else _joined(source, rows)
