"""Remove files of a trained stage that are no longer needed."""

from __future__ import annotations

from pathlib import Path

from ptspec.recipe.effective_config import leaves_checkpoints
from ptspec.recipe.plan import Stage
from ptspec.store.stage_folder import CHECKPOINTS, strip_pickles
from ptspec.training.checkpoints import remove_checkpoints


def slim(stage: Stage, folder: Path) -> None:
    """Remove from checkpoints of `stage` what only resuming needs.

    Checkpoints of full weights are removed unless the recipe says how many to keep.
    """
    if not stage.trains:
        return
    strip_pickles(folder / CHECKPOINTS)
    if not leaves_checkpoints(stage):
        remove_checkpoints(folder / CHECKPOINTS)
