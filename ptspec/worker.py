"""`python -m ptspec.worker JOB`: run one stage's job and write its events as lines of JSON to stdout.

`--controlled`: started by `pt run`, which holds the lock of the run's folder, sends a stop request on stdin,
and has ended when that closes. Otherwise Ctrl-C and other signals end it as they end `pt run`.

One of several that a launcher started runs the job with the others (`ptspec.processes`). Only rank 0 writes
events; what ends any of them is left as a file (`ptspec.launch.several`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock as Mutex
from threading import Thread

from ptspec.diagnostics import Diagnostic, Exit, InputError, PtError
from ptspec.launch.accelerate import log_of
from ptspec.launch.job import StageJob, log_for, read_job
from ptspec.launch.protocol import Done, Happened, Message, Stop, failed, line, read
from ptspec.launch.several import FOLDER, Left
from ptspec.launched import launched
from ptspec.library_output import into_log
from ptspec.processes import leave
from ptspec.run.errors import logged, told
from ptspec.run.one_process import prepare_process, prepare_worker
from ptspec.run.options import LOG
from ptspec.run.ranks import join_for, work_on
from ptspec.store.lock import lock
from ptspec.training.stop_request import StopRequest

CONTROLLED = "--controlled"


class Lines:
    """Messages on this process's original stdout; what libraries print goes to stderr.

    Ranks other than 0 write nothing.
    """

    def __init__(self, speaks: bool = True) -> None:
        self._speaks = speaks
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._mutex = Mutex()

    def send(self, message: Message) -> None:
        """Write a message as one line; thread-safe."""
        if not self._speaks:
            return
        text = line(message)
        with self._mutex:
            while text:
                text = text[os.write(self._out, text) :]


def main(arguments: Sequence[str]) -> int:
    """Run the job in the file that `arguments` name and return the exit code, as of `pt run`.

    Raises nothing: errors become messages, or text on stderr.
    """
    rank = launched()
    is_first = rank is None or rank.index == 0
    lines = Lines(speaks=is_first)
    stop_request = StopRequest()
    controlled = CONTROLLED in arguments
    if controlled and is_first:
        Thread(target=_read_stop_requests, args=(stop_request,), name="ptspec-control", daemon=True).start()
    files = [Path(text) for text in arguments if text != CONTROLLED]
    left = Left(files[0].parent / FOLDER) if rank is not None and controlled and files else None
    if rank is not None and left is not None:
        left.live(rank.index)
    try:
        if len(files) != 1:
            raise InputError(
                Diagnostic("wrong-usage", "a worker takes one file: python -m ptspec.worker JOB")
            )
        if controlled:
            prepare_worker(rank)
        else:
            prepare_process()
        job = read_job(files[0])
        log = log_of(log_for(job, job.plan.output / LOG), rank.index if rank else 0)
        with stop_request.listening(), told(job.plan):
            held = contextlib.nullcontext() if controlled else lock(job.plan.output)
            with held, into_log(log), logged():
                _do(job, lines, stop_request, together=rank is not None)
    except PtError as error:
        if rank is None or left is None:
            lines.send(failed(error))
            return error.exit
        left.end(rank.index, error)
    lines.send(Done())
    return Exit.DONE


def _do(job: StageJob, lines: Lines, stop_request: StopRequest, *, together: bool) -> None:
    if together:
        # A process that waits for one that has ended has nothing to save: the launcher may end it at once.
        caught = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        join_for(job)
        signal.signal(signal.SIGTERM, caught)
    stages = [stage for stage in job.plan.stages if stage.name == job.stage]
    work_on(job, stages, lambda event: lines.send(Happened(event)), stop_request).do(job)
    leave()


def _read_stop_requests(stop_request: StopRequest) -> None:
    """Read stop requests until the controller ends, then exit at once: the next run may write the folder."""
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
