"""What of a stage's folder goes once the stage is trained."""

from __future__ import annotations

from pathlib import Path

from ptspec.recipe.effective_config import leaves_checkpoints
from ptspec.recipe.plan import Stage
from ptspec.store.stage_folder import CHECKPOINTS, strip_pickles
from ptspec.training.checkpoints import remove_checkpoints


def slim(stage: Stage, folder: Path) -> None:
    """Removes what is of no use once `stage` is trained: of its checkpoints what only going on from them
    needs, and those of whole weights, unless the recipe says how many to keep."""
    if not stage.trains:
        return
    strip_pickles(folder / CHECKPOINTS)
    if not leaves_checkpoints(stage):
        remove_checkpoints(folder / CHECKPOINTS)
