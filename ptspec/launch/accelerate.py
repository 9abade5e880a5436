"""A job done by several processes of this machine, which torch's elastic launcher starts and ends."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, PtError, StageError
from ptspec.events import Listener
from ptspec.launch.child import JOB, died, heard, kept, passing_on, pointer_of, started
from ptspec.launch.job import StageJob, write_job
from ptspec.launch.protocol import Died, Done
from ptspec.launch.several import FOLDER, SILENCE, Left, ending_silent_ones
from ptspec.launch.smaller_passes import with_smaller_passes
from ptspec.training.stop_request import StopRequest


@dataclass(frozen=True)
class SeveralProcesses:
    """Does jobs by the processes that their `compute` asks for. What the first prints goes to `log`, its
    events to `listener`; every other one has a log of its own beside it. `devices`: the variables that say
    which GPUs they see (None: unset)."""

    listener: Listener
    stop_request: StopRequest
    log: Path
    devices: Mapping[str, str | None]

    def __call__(self, job: StageJob) -> None:
        """Raises what ended the work, of several errors the first. Where that is memory that ran out and the
        recipe lets batches be halved, the work begins again with smaller ones."""
        with_smaller_passes(job, self._once, self.listener)

    def _once(self, job: StageJob) -> None:
        file, left = job.plan.output / JOB, Left(job.plan.output / FOLDER)
        shutil.rmtree(left.folder, ignore_errors=True)
        left.folder.mkdir()
        write_job(job, file)
        processes = job.compute.processes
        command = [sys.executable, "-m", "ptspec.launch.elastic", str(file), str(processes)]
        try:
            with (
                started(command, self.log, self._environment(processes)) as launcher,
                passing_on(self.stop_request, launcher),
                ending_silent_ones(left) as silent,
            ):
                ended = heard(launcher, self.listener)
            if not isinstance(ended, Done):
                raise self._error(job, ended if isinstance(ended, Died) else None, left, silent)
        finally:
            file.unlink(missing_ok=True)
            shutil.rmtree(left.folder, ignore_errors=True)

    def _environment(self, processes: int) -> Mapping[str, str]:
        given = {name: text for name, text in os.environ.items() if name not in self.devices}
        seen = {name: text for name, text in self.devices.items() if text is not None}
        # As torchrun does it, but with what there is: threads of several processes would share the cores.
        threads = str(max(1, (os.cpu_count() or 1) // processes))
        return {"OMP_NUM_THREADS": threads, **given, **seen}

    def _error(self, job: StageJob, ended: Died | None, left: Left, silent: list[int]) -> PtError:
        """What to tell of a job that was not done: of the process that caused it, with its log."""
        if silent:
            return StageError(self._hanging(job, silent[0]))
        for index, code in ended.codes if ended else ():
            if code < 0 and code != -15:  # the launcher itself ends the others with SIGTERM
                return StageError(died(job, code, self._which(job, index), self._log(index)))
        found = left.first_failure()
        if found is None:
            index, code = next(iter(ended.codes)) if ended else (0, 1)
            return StageError(died(job, code, self._which(job, index), self._log(index)))
        index, error = found
        if error.exit == StageError.exit:
            note = f"{self._which(job, index)}; its log: {self._log(index)}"
            error.diagnostics = tuple(replace(d, notes=(*d.notes, note)) for d in error.diagnostics)
        return error

    def _hanging(self, job: StageJob, index: int) -> Diagnostic:
        message = f'{self._which(job, index)} of "{job.stage}" hangs: no sign of life for {SILENCE:.0f} s'
        notes = (f"its log: {self._log(index)}", kept(job))
        return Diagnostic("worker-hangs", message, pointer=pointer_of(job), notes=notes)

    def _which(self, job: StageJob, index: int) -> str:
        return f"process {index} of {job.compute.processes}"

    def _log(self, index: int) -> str:
        return shown(log_of(self.log, index))


def log_of(log: Path, index: int) -> Path:
    """Where the process number `index` writes what libraries say: run.log, run.1.log, …"""
    return log if index == 0 else log.with_name(f"{log.stem}.{index}{log.suffix}")
