"""Comparisons of each policy with its parent, for `pt eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.comparison_store import comparison_of, load_comparison
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.targets import Target


def against_parents(measured: Sequence[Measurement], targets: Sequence[Target]) -> Mapping[str, Comparison]:
    """Return the comparison of each policy with its parent among `measured`, stored or computed.

    Without policies whose stage name occurs in several runs.
    """
    names = [target.name for target in targets]
    by_name = {one.name: one for one in measured}
    found = {}
    for one, target in zip(measured, targets, strict=True):
        parent = by_name.get(target.parent or "")
        if parent is None or target.is_reward_model or names.count(target.name) > 1:
            continue
        stored = load_comparison(target.stored) if target.stored else None
        if (compared := comparison_of(parent, one, stored)) is not None:
            found[one.name] = compared
    return found
