"""Create the worker of this process when its first job arrives. Imports no torch before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptspec.events import Listener
from ptspec.library_imports import importing_libraries
from ptspec.recipe.plan import Plan, Stage
from ptspec.run.evaluations import Evaluations
from ptspec.training.stop_request import StopRequest

if TYPE_CHECKING:
    from ptspec.run.stage_work import StageWork


def begin_work(
    plan: Plan,
    stages: Sequence[Stage],
    evaluations: Evaluations,
    listener: Listener,
    stop_request: StopRequest,
    *,
    allow_code: bool,
) -> StageWork:
    """Return the worker for jobs of `stages` in this process."""
    # Imported here, since these libraries print when they are imported.
    with importing_libraries():
        from ptspec.run.stage_work import StageWork, device_of_stages
    device = device_of_stages(listener)
    return StageWork(plan, tuple(stages), evaluations, device, listener, stop_request, allow_code=allow_code)
