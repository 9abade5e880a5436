"""Translate errors of a run into user messages; the traceback goes to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ptspec.checks.code_permission import located
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Interrupted, Location, PtError, StageError
from ptspec.recipe.plan import Plan
from ptspec.run.options import LOG
from ptspec.training.faults import diagnosed


@contextmanager
def logged() -> Iterator[None]:
    """Log the traceback of an error raised within, and raise it again."""
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
def told(plan: Plan) -> Iterator[None]:
    """Translate errors of libraries: what happened, where the details are, and how to resume.

    Raises `StageError`, `Interrupted`, or the original `PtError`.
    """
    try:
        yield
    except PtError as error:
        error.diagnostics = tuple(located(diagnostic, plan) for diagnostic in error.diagnostics)
        raise
    except KeyboardInterrupt:
        message = "stopped at once; the same command resumes from the last finished stage or checkpoint"
        raise Interrupted(Diagnostic("interrupted", message, Location(str(plan.recipe)))) from None
    except Exception as error:
        log = plan.output / LOG
        traceback = (f"the traceback is in {shown(log)}",) if log.exists() else ()
        where, notes = Location(str(plan.recipe)), (*traceback, "finished stages are kept")
        raise StageError(replace(diagnosed(error), location=where, notes=notes)) from error
