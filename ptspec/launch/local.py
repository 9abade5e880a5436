"""Run a job in a separate process of this machine, whose exit frees its memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ptspec.diagnostics import StageError
from ptspec.events import Listener, Preparing
from ptspec.launch.child import JOB, died, passing_on, read_messages, started
from ptspec.launch.job import StageJob, write_job
from ptspec.launch.protocol import Done, Failed, error_of
from ptspec.training.stop_request import StopRequest


@dataclass(frozen=True)
class OwnProcess:
    """Runs jobs by `python -m ptspec.worker`.

    The worker's output goes to `log`, its events to `listener`.
    """

    listener: Listener
    stop_request: StopRequest
    log: Path

    def __call__(self, job: StageJob) -> None:
        """Run `job`. Raises what the work raised; `StageError` if the worker died."""
        file = job.plan.output / JOB
        write_job(job, file)
        self.listener(Preparing("starting a process"))
        command = [sys.executable, "-m", "ptspec.worker", str(file), "--controlled"]
        try:
            with started(command, self.log) as worker, passing_on(self.stop_request, worker):
                ended = read_messages(worker, self.listener)
        finally:
            file.unlink(missing_ok=True)
        if isinstance(ended, Failed):
            raise error_of(ended)
        if not isinstance(ended, Done):
            raise StageError(died(job, worker.returncode))
