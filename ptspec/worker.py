"""`python -m ptspec.worker JOB`: does one stage's job, and tells what happens as lines of JSON on stdout.

`--controlled`: `pt run` started it, which holds the lock of the run's folder, says on stdin when to stop, and
is gone when that closes. Without, Ctrl-C and the like end it as they end `pt run`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock as Mutex
from threading import Thread

from ptspec.diagnostics import Diagnostic, Exit, InputError, PtError
from ptspec.launch.job import StageJob, read_job
from ptspec.launch.protocol import Done, Failed, Happened, Stop, failed, line, read
from ptspec.library_imports import importing_libraries
from ptspec.library_output import into_log
from ptspec.run.errors import logged, told
from ptspec.run.one_process import prepare_process
from ptspec.run.options import LOG
from ptspec.store.lock import lock
from ptspec.training.stop_request import StopRequest

CONTROLLED = "--controlled"


class Lines:
    """Messages on the stdout that this process was started with; what libraries print goes to stderr."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._mutex = Mutex()

    def send(self, message: Happened | Done | Failed) -> None:
        text = line(message)
        with self._mutex:
            while text:
                text = text[os.write(self._out, text) :]


def main(arguments: Sequence[str]) -> int:
    """Does the job in the file that `arguments` name; the exit code is that of `pt run`."""
    lines = Lines()
    stop_request = StopRequest()
    controlled = CONTROLLED in arguments
    if controlled:
        Thread(target=_obey, args=(stop_request,), name="ptspec-control", daemon=True).start()
    files = [Path(text) for text in arguments if text != CONTROLLED]
    try:
        if len(files) != 1:
            raise InputError(
                Diagnostic("wrong-usage", "a worker takes one file: python -m ptspec.worker JOB")
            )
        prepare_process()
        job = read_job(files[0])
        with stop_request.listening(), told(job.plan):
            held = contextlib.nullcontext() if controlled else lock(job.plan.output)
            with held, into_log(job.plan.output / LOG), logged():
                _do(job, lines, stop_request)
    except PtError as error:
        lines.send(failed(error))
        return error.exit
    lines.send(Done())
    return Exit.DONE


def _do(job: StageJob, lines: Lines, stop_request: StopRequest) -> None:
    # Imported here, since these libraries have things to say when they are imported.
    with importing_libraries():
        from ptspec.model.device import training_device
        from ptspec.run.stage_work import StageWork
        from ptspec.store.fingerprint import Hashes

    stages = tuple(stage for stage in job.plan.stages if stage.name == job.stage)
    hashes = Hashes(job.plan, job.hashed)
    work = StageWork(
        job.plan,
        stages,
        hashes,
        training_device(),
        lambda event: lines.send(Happened(event)),
        stop_request,
        allow_code=job.allow_code,
    )
    work.do(job)


def _obey(stop_request: StopRequest) -> None:
    """Hears the controller until it is gone, and ends this process then, at once: the next run may write the
    folder at any moment."""
    text = b""
    while received := os.read(0, 1 << 16):
        *complete, text = (text + received).split(b"\n")
        for one in complete:
            message = read(one)
            if isinstance(message, Stop):
                stop_request.ask(message.reason)
    os._exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
