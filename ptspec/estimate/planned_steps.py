"""Optimizer steps of stages before they start, for a screen, if counting is fast."""

from __future__ import annotations

from ptspec.accelerator import has_accelerator
from ptspec.data.tokens.template import tokenizer_files
from ptspec.estimate.rowcount import RowCounts
from ptspec.estimate.steps import count
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.sources import Source, parts_of

QUICK = 32 << 20
"""Bytes of rows that are counted in a few seconds."""


def planned_steps(plan: Plan, most: int = QUICK) -> dict[str, int]:
    """Return the steps of stages by name.

    Without stages that train nothing, and, unless `max_steps` is set, those with rows on the hub or files of
    more than `most` bytes.
    """
    counts = RowCounts(plan, tokenizer_files(plan.model))
    found: dict[str, int] = {}
    for stage in plan.trained:
        settings = EffectiveConfig(stage, stage.compute, has_accelerator())
        rows: int | None = 0
        if settings.number("max_steps", -1) <= 0:
            rows = counts.of(settings).trained if _bytes(plan, stage) <= most else None
        if rows is not None:
            found[stage.name] = count(settings, rows).total
    return found


def _bytes(plan: Plan, stage: Stage) -> int:
    """Return the size of the files of the stage's rows."""
    sources = [plan.data[name] for name in parts_of(plan.data, stage.data)]
    files = {path for source in sources if isinstance(source, Source) for path in source.paths}
    return sum(path.stat().st_size for path in files)
