"""A job done on this machine: in a process of its own, whose end gives back all that it held.

The worker is no part of the terminal's process group: a Ctrl-C reaches the controller alone, which passes on
that it is to stop. It ends as soon as the controller does, however that ended.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import IO

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.events import Listener
from ptspec.launch.job import StageJob, write_job
from ptspec.launch.protocol import Done, Failed, Happened, Stop, error_of, line, read
from ptspec.store.half_made import last_step
from ptspec.training.stop_request import StopRequest

JOB = ".job.json"
POLL = 0.1
"""Seconds between two looks at whether the run is to stop."""


@dataclass(frozen=True)
class OwnProcess:
    """Does jobs by `python -m ptspec.worker`. What the worker prints goes to `log`, its events to
    `listener`."""

    listener: Listener
    stop_request: StopRequest
    log: Path

    def __call__(self, job: StageJob) -> None:
        """Raises what the work raised; `StageError` where the worker died."""
        file = job.plan.output / JOB
        write_job(job, file)
        try:
            with self._started(file) as worker, _passing_on(self.stop_request, worker):
                ended = self._heard(worker)
        finally:
            file.unlink(missing_ok=True)
        if isinstance(ended, Failed):
            raise error_of(ended)
        if ended is None:
            raise StageError(_died(job, worker.returncode))

    @contextlib.contextmanager
    def _started(self, file: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A worker; whatever happens here, it does not outlive this."""
        command = [sys.executable, "-m", "ptspec.worker", str(file), "--controlled"]
        pipe = subprocess.PIPE
        with self.log.open("ab") as log:
            worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True)
        try:
            yield worker
            worker.wait()
        finally:
            worker.kill()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                with contextlib.suppress(OSError):
                    _there(stream).close()

    def _heard(self, worker: subprocess.Popen[bytes]) -> Done | Failed | None:
        """How the work ended; None where the worker did not say."""
        for text in _there(worker.stdout):
            try:
                message = read(text)
            except ValueError:  # cut off
                return None
            if isinstance(message, Happened):
                self.listener(message.event)
            elif isinstance(message, Done | Failed):
                return message
        return None


def _there(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@contextlib.contextmanager
def _passing_on(stop_request: StopRequest, worker: subprocess.Popen[bytes]) -> Iterator[None]:
    """Tells `worker` when the run is to stop, while this lasts."""
    over = Flag()

    def watch() -> None:
        while not over.wait(POLL):
            if (reason := stop_request.reason) is not None:
                with contextlib.suppress(OSError):  # it has ended by itself
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


def _died(job: StageJob, code: int) -> Diagnostic:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    stage = job.plan.stage(job.stage)
    saved = last_step(job.folder)
    kept = f"{job.stage} is saved up to step {saved}" if saved else f"nothing of {job.stage} is saved yet"
    if not job.trains:
        kept = "finished stages are kept"
    hint = "a system that runs out of memory does that: pt plan says what each stage takes"
    return Diagnostic(
        "worker-died",
        f'the process of "{job.stage}" {how}',
        pointer=stage.at if stage is not None else "/model",
        hint=hint if code == -signal.SIGKILL else None,
        notes=(f"{kept}; the same command goes on from there",),
    )
