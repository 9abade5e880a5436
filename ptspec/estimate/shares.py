"""Of a source that joins others: the share of each, and the rows of all."""

from __future__ import annotations

from collections.abc import Mapping

from ptspec.recipe.sources import Concat, Mix, Until


def _mixed(mix: Mix, trained: Mapping[str, int]) -> tuple[Mapping[str, float], int]:
    """The share of each source, and the rows of all.

    Rows are drawn until one source is used up: in the mean, so many as the first to go allows."""
    least = min if mix.until is Until.FIRST else max
    return mix.weights, least(
        round(rows / share) for name, rows in trained.items() if (share := mix.weights[name])
    )


def _joined(concat: Concat, trained: Mapping[str, int]) -> tuple[Mapping[str, float], int]:
    """The share of each source, and the rows of all: of each source so many as its fraction says."""
    taken = {name: round(rows * concat.fractions[name]) for name, rows in trained.items()}
    rows = sum(taken.values())
    return {name: count / rows if rows else 0.0 for name, count in taken.items()}, rows


def shares_and_rows(source: Mix | Concat, rows: Mapping[str, int]) -> tuple[Mapping[str, float], int]:
    """The share of each part of `source`, and the rows of all, where the parts have so many `rows`."""
    return _mixed(source, rows) if isinstance(source, Mix) else _joined(source, rows)
