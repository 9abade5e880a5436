"""Create a run's folder without replacing anything that ptspec did not write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.evaluation.request import REPORT
from ptspec.recipe.plan import BASE, Plan
from ptspec.run.options import LOG
from ptspec.store.event_log import EVENTS
from ptspec.store.lock import LOCK
from ptspec.store.manifest import MANIFEST
from ptspec.store.stage_folder import RECORD, partial_folder


def make_output_folder(plan: Plan) -> None:
    """Create the folder of a run.

    Raises `InputError` if it cannot be created, if something in it links outside, or if a stage would replace
    a folder that is not a stage. The folder itself may be a link: the command line decides where a run goes.
    """
    faults = list(_faults(plan))
    if faults:
        raise InputError(*faults)
    try:
        plan.output.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(_cannot_be_made(plan.output, error)) from None


def _faults(plan: Plan) -> Iterator[Diagnostic]:
    try:
        if plan.output.is_dir():
            yield from _inside(plan)
        elif plan.output.exists():
            yield _cannot_be_made(plan.output, NotADirectoryError(0, "this is a file"))
    except (OSError, ValueError) as error:
        yield _cannot_be_made(plan.output, error)


def _inside(plan: Plan) -> Iterator[Diagnostic]:
    stages = [plan.output / stage.name for stage in plan.stages]
    halves = [partial_folder(plan.output, stage.name) for stage in plan.stages]
    files = [plan.output / name for name in (MANIFEST, EVENTS, LOG, LOCK, REPORT, BASE)]
    for path in (*stages, *halves, *files):
        if path.is_symlink():
            yield _leads_elsewhere(path)
        elif path in stages and path.exists() and not _is_stage(path):
            yield _is_none_of_ours(path)


def _is_stage(path: Path) -> bool:
    return path.is_dir() and ((path / RECORD).is_file() or not any(path.iterdir()))


def _leads_elsewhere(path: Path) -> Diagnostic:
    message = f"this is a link to {path.readlink()}, and a run writes in its own folder alone"
    hint = "remove the link; the whole output folder may be one"
    return Diagnostic("link-in-run", message, Location(shown(path)), hint=hint)


def _is_none_of_ours(path: Path) -> Diagnostic:
    message = f"this is not a stage of a run (it has no {RECORD}), and a stage of that name would replace it"
    hint = "move it, or give the run a folder of its own: --output DIR"
    return Diagnostic("folder-in-use", message, Location(shown(path)), hint=hint)


def _cannot_be_made(output: Path, error: Exception) -> Diagnostic:
    reason = getattr(error, "strerror", None) or str(error)
    message = f"the run's folder cannot be made: {reason}"
    return Diagnostic("not-writable", message, Location(shown(output)), hint="--output DIR names another one")
