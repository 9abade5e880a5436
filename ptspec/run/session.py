"""Around a run: the folder's lock, the log, the events file, and errors turned into what a user is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Interrupted, Location, PtError, StageError
from ptspec.events import Event, Listener, Preparing, Warned
from ptspec.recipe.plan import Plan
from ptspec.run.allowed import located
from ptspec.run.artifact import sweep
from ptspec.run.lock import lock
from ptspec.run.manifest import EventLog
from ptspec.run.noise import into_log
from ptspec.run.one_process import prepare_process
from ptspec.run.options import LOG, Options
from ptspec.run.place import make_place
from ptspec.training.faults import diagnosed
from ptspec.training.wish import Wish

if TYPE_CHECKING:
    from ptspec.run.interpreter import Outcomes


def execute(plan: Plan, listener: Listener, options: Options) -> Outcomes:
    """Runs `plan` in its output folder.

    Raises a `PtError`: `InputError` where something is wrong before a stage starts, `StageError` where one
    fails, `CheckError` where a check does not hold, `Interrupted`.
    """
    wish = Wish(None if options.max_seconds is None else time.monotonic() + options.max_seconds)
    notice = prepare_process()
    with wish.listening(), _told(plan):
        make_place(plan)
        with (
            lock(plan.output) as died,
            into_log(plan.output / LOG),
            EventLog(plan.output) as events,
            _logged(),
        ):

            def both(event: Event) -> None:
                events(event)
                listener(event)

            for folder in (plan.output, *(path for path in plan.output.iterdir() if path.is_dir())):
                sweep(folder)
            if died is not None:
                both(Warned(f"the run before ({died.words}) was cut off; this one goes on from there"))
            if notice is not None:
                both(Warned(notice))
            listener(Preparing("loading torch, transformers, trl, peft"))
            # Imported here, since these libraries have things to say when they are imported.
            from ptspec.run.interpreter import Run

            return Run(plan, both, options, wish).go()


@contextmanager
def _logged() -> Iterator[None]:
    """Where an error came from goes into the log; a person is told what it means."""
    try:
        yield
    except PtError as error:
        if error.__cause__ is not None:
            logging.getLogger("ptspec").exception("the run failed")
        raise
    except Exception:
        logging.getLogger("ptspec").exception("the run failed")
        raise


@contextmanager
def _told(plan: Plan) -> Iterator[None]:
    """Errors of the libraries below, as what happened, where the details are, and how to go on."""
    try:
        yield
    except PtError as error:
        error.diagnostics = tuple(located(diagnostic, plan) for diagnostic in error.diagnostics)
        raise
    except KeyboardInterrupt:
        message = "interrupted; the same command goes on from the last finished stage or checkpoint"
        raise Interrupted(Diagnostic("interrupted", message, Location(str(plan.recipe)))) from None
    except Exception as error:
        log = plan.output / LOG
        story = (f"the whole story is in {shown(log)}",) if log.exists() else ()
        where, notes = Location(str(plan.recipe)), (*story, "finished stages are kept")
        raise StageError(replace(diagnosed(error), location=where, notes=notes)) from error
