"""A child process that runs a job: started, read, asked to stop, and ended with its controller.

It is outside the terminal's process group: Ctrl-C reaches only the controller, which forwards a stop request.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import IO

from ptspec.diagnostics import Diagnostic
from ptspec.events import Listener
from ptspec.launch.job import StageJob
from ptspec.launch.protocol import Died, Done, Failed, Happened, Stop, line, read
from ptspec.store.half_made import last_step, saved_in_words
from ptspec.training.stop_request import StopRequest

JOB = ".job.json"
POLL = 0.1
"""Seconds between two checks for a stop request."""


@contextlib.contextmanager
def started(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `command` in `folder` with stderr in `log`; end it on exit from the context."""
    pipe = subprocess.PIPE
    with log.open("ab") as file:
        worker = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=file,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield worker
        worker.wait()
    finally:
        worker.kill()
        worker.wait()
        for stream in (worker.stdin, worker.stdout):
            with contextlib.suppress(OSError):
                _there(stream).close()


def read_messages(worker: subprocess.Popen[bytes], listener: Listener) -> Done | Failed | Died | None:
    """Pass the worker's events to `listener` and return how it ended; None if it did not say."""
    for text in _there(worker.stdout):
        try:
            message = read(text)
        except ValueError:  # cut off
            return None
        if isinstance(message, Happened):
            listener(message.event)
        elif isinstance(message, Done | Failed | Died):
            return message
    return None


@contextlib.contextmanager
def passing_on(stop_request: StopRequest, worker: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forward a stop request to `worker` within the context."""
    over = Flag()

    def watch() -> None:
        while not over.wait(POLL):
            if (reason := stop_request.reason) is not None:
                with contextlib.suppress(OSError):  # it has ended
                    _there(worker.stdin).write(line(Stop(reason)))
                    _there(worker.stdin).flush()
                return

    thread = Thread(target=watch, name="ptspec-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def died(job: StageJob, code: int | None, which: str = "the process", log: str | None = None) -> Diagnostic:
    """Return the error for a worker that exited with `code` (None: unknown) without a message.

    `log`: where it wrote.
    """
    how = "has ended" if code is None else f"ended with exit code {code}"
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    hint = "a system that runs out of memory does that: pt plan says what each stage takes"
    written = (f"its log: {log}",) if log else ()
    return Diagnostic(
        "worker-died",
        f'{which} of "{job.stage}" {how}',
        pointer=pointer_of(job),
        hint=hint if code == -signal.SIGKILL else None,
        notes=(*written, kept(job)),
    )


def pointer_of(job: StageJob) -> str:
    """Return the JSON pointer of the job's stage; "/model" for the base."""
    stage = job.plan.stage(job.stage)
    return stage.at if stage is not None else "/model"


def kept(job: StageJob) -> str:
    """Return what remains of the job after a failure, and how to resume."""
    if not job.trains:
        return "finished stages are kept; the same command resumes from there"
    return saved_in_words(job.stage, last_step(job.folder))


def _there(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
