"""A run's session: the folder's lock, the log, the events file, and error messages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Exit, PtError, first_line
from ptspec.events import Event, Listener, Preparing, RunStarted, RunStopped, Warned
from ptspec.launched import Rank, launched
from ptspec.library_output import into_log
from ptspec.performance.threads import set_spins
from ptspec.recipe.compute_rules import RAY
from ptspec.recipe.plan import Performance, Plan
from ptspec.run.errors import logged, told
from ptspec.run.interpreter import Outcomes, Run
from ptspec.run.one_process import prepare_process, prepare_worker
from ptspec.run.options import LOG, Options
from ptspec.run.output_folder import make_output_folder
from ptspec.run.pinned import pinned
from ptspec.store.event_log import EventLog
from ptspec.store.files import flush_folder, sweep
from ptspec.store.lock import SOFT_LOCK, Lock, lock
from ptspec.training.stop_request import StopRequest

if TYPE_CHECKING:
    from ptspec.launch.ray_cluster import Cluster


def execute(plan: Plan, listener: Listener, options: Options) -> Outcomes:
    """Run `plan` in its output folder.

    Raises a `PtError`: `InputError` before a stage starts, `StageError` if one fails, `CheckError` if a check
    fails, `Interrupted` if the run was stopped.
    """
    rank = launched()
    deadline = None if options.max_seconds is None else time.monotonic() + options.max_seconds
    stop_request = StopRequest(deadline, from_launcher=rank is not None)
    notice = None if options.embedded else _prepare(plan, rank)
    signals = contextlib.nullcontext() if options.embedded else stop_request.listening()
    with signals, told(plan), _cluster(plan, listener) as cluster:
        make_output_folder(plan)
        with (
            lock(plan.output) as held,
            contextlib.nullcontext() if options.embedded else into_log(plan.output / LOG),
            EventLog(plan.output) as events,
            _end_in(events),
            logged(),
        ):

            def both(event: Event) -> None:
                events(event)
                if isinstance(event, RunStarted):  # the screen shows them already
                    for text in options.warnings:
                        events(Warned(text))
                listener(event)

            for folder in (plan.output, *(path for path in plan.output.iterdir() if path.is_dir())):
                sweep(folder)
            if held.died is not None:
                both(Warned(f"the run before ({held.died.words}) was cut off; this one goes on from there"))
            for text in _missing(plan.output, held):
                both(Warned(text))
            here = (stage.compute for stage in plan.stages)
            if notice is not None and all(one.world == 1 and one.launcher != RAY for one in here):
                both(Warned(notice))
            if rank is None:
                return Run(pinned(plan), both, options, stop_request, cluster).go()
            return _together(pinned(plan), both, options, stop_request, rank)


def _prepare(plan: Plan, rank: Rank | None) -> str | None:
    """Prepare this process; return a message about its GPUs, if any."""
    notice = None
    if rank is None:
        notice = prepare_process()
    else:
        prepare_worker(rank)
    if plan.performance is Performance.AUTO:
        set_spins()
    return notice


@contextlib.contextmanager
def _end_in(events: EventLog) -> Iterator[None]:
    """Write the error or interruption that ended a run to its log, for `pt runs`."""
    try:
        yield
    except PtError as error:
        first = error.diagnostics[0]
        _log_end(events, RunStopped(first.code, first.message, asked=error.exit is Exit.INTERRUPTED))
        raise
    except Exception as error:
        _log_end(events, RunStopped("bug", first_line(error), asked=False))
        raise


def _log_end(events: EventLog, event: RunStopped) -> None:
    with contextlib.suppress(OSError):  # the disk may be full
        events(event)


@contextlib.contextmanager
def _cluster(plan: Plan, listener: Listener) -> Iterator[Cluster | None]:
    """Open the Ray cluster of `plan`, if it uses one, within the context."""
    of_run = {plan.compute.launcher} if plan.evaluation is not None else set()
    if RAY not in {*of_run, *(stage.compute.launcher for stage in plan.stages)}:
        yield None
        return
    listener(Preparing("connecting to Ray"))
    # Imported here: an optional extra.
    from ptspec.launch.ray_cluster import connected

    with connected(plan) as cluster:
        yield cluster


def _together(
    plan: Plan, listener: Listener, options: Options, stop_request: StopRequest, rank: Rank
) -> Outcomes:
    """Run with all processes that a launcher has started; this is rank 0."""
    from ptspec.run.ranks import TIMEOUT, Together, join_found, must_fit

    must_fit(plan, rank)
    for stage in plan.stages:
        if "ddp_timeout" in stage.config:
            text = f"ddp_timeout has no effect under {rank.launcher}: the processes wait {TIMEOUT:,} s"
            listener(Warned(f"{text} for one another", stage.name))
    join_found(rank)
    together = Together(plan.output)
    try:
        run = Run(plan, listener, options, stop_request)
        run.together, together.work = together, lambda job: run.work().do(job)
        return run.go()
    finally:
        together.dismiss()


def _missing(output: Path, held: Lock) -> Iterator[str]:
    """Return which features the file system of `output` lacks."""
    if held.is_soft:
        yield (
            f"the file system of {shown(output)} has no locks: {SOFT_LOCK} keeps a second run out; "
            "after a crash on another host it has to be removed by hand"
        )
    if not flush_folder(output):
        yield (
            f"the file system of {shown(output)} cannot flush folders: what was finished last may be lost if "
            "the machine loses power"
        )
