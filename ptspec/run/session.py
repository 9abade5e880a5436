"""Around a run: the folder's lock, the log, the events file, and errors turned into what a user is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ptspec.data.sources import shown
from ptspec.diagnostics import Diagnostic, Interrupted, Location, PtError, StageError
from ptspec.events import Event, Listener, Preparing
from ptspec.recipe.plan import Plan
from ptspec.run.allowed import located
from ptspec.run.lock import lock
from ptspec.run.manifest import EventLog
from ptspec.run.noise import into_log, quiet_environment
from ptspec.run.options import LOG, Options

if TYPE_CHECKING:
    from ptspec.run.interpreter import Outcomes


def execute(plan: Plan, listener: Listener, options: Options) -> Outcomes:
    """Runs `plan` in its output folder.

    Raises a `PtError`: `InputError` where something is wrong before a stage starts, `StageError` where one
    fails, `CheckError` where a check does not hold, `Interrupted`.
    """
    begun = time.monotonic()
    quiet_environment()
    plan.output.mkdir(parents=True, exist_ok=True)
    with lock(plan.output), into_log(plan.output / LOG), _told(plan):
        listener(Preparing("loading torch, transformers, trl, peft"))
        # Imported here, since these libraries have things to say when they are imported.
        from ptspec.run.interpreter import Run
        from ptspec.training.stop import Wish

        events = EventLog(plan.output)

        def both(event: Event) -> None:
            events(event)
            listener(event)

        wish = Wish(None if options.max_seconds is None else begun + options.max_seconds)
        try:
            with wish.listening():
                return Run(plan, both, options, wish).go()
        finally:
            events.close()


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
        logging.getLogger("ptspec").exception("the run failed")
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StageError(
            Diagnostic(
                "stage-failed",
                f"{type(error).__name__}: {first}",
                Location(str(plan.recipe)),
                notes=(f"the whole story is in {shown(plan.output / LOG)}", "finished stages are kept"),
            )
        ) from error
