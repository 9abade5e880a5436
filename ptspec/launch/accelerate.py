"""Run a job in several processes of this machine, through torch's elastic launcher."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, PtError, StageError, noted
from ptspec.events import Listener, Preparing
from ptspec.launch.child import JOB, died, kept, passing_on, pointer_of, read_messages, started
from ptspec.launch.job import StageJob, write_job
from ptspec.launch.protocol import Died, Done
from ptspec.launch.several import FOLDER, SILENCE, Left, ending_silent_ones
from ptspec.launch.smaller_passes import with_smaller_passes
from ptspec.training.stop_request import StopRequest


@dataclass(frozen=True)
class SeveralProcesses:
    """Runs jobs in the processes that their `compute` asks for.

    Output of rank 0 goes to `log`, its events to `listener`; every other rank has its own log beside it.
    `devices`: the GPU variables of the processes (None: unset).
    """

    listener: Listener
    stop_request: StopRequest
    log: Path
    devices: Mapping[str, str | None]

    def __call__(self, job: StageJob) -> None:
        """Run `job`. Raises the error that ended it, the first of several.

        If memory ran out and the recipe allows it, the job restarts with smaller batches.
        """
        with_smaller_passes(job, self._once, self.listener)

    def _once(self, job: StageJob) -> None:
        file, left = job.plan.output / JOB, Left(job.plan.output / FOLDER)
        shutil.rmtree(left.folder, ignore_errors=True)
        left.folder.mkdir()
        write_job(job, file)
        processes = job.compute.processes
        self.listener(Preparing(f"starting {processes} processes"))
        command = [sys.executable, "-m", "ptspec.launch.elastic", str(file), str(processes)]
        try:
            with (
                started(command, self.log, self._environment(processes)) as launcher,
                passing_on(self.stop_request, launcher),
                ending_silent_ones(left) as silent,
            ):
                ended = read_messages(launcher, self.listener)
            if not isinstance(ended, Done):
                raise self._error(job, ended if isinstance(ended, Died) else None, left, silent)
        finally:
            file.unlink(missing_ok=True)
            shutil.rmtree(left.folder, ignore_errors=True)

    def _environment(self, processes: int) -> Mapping[str, str]:
        given = {name: text for name, text in os.environ.items() if name not in self.devices}
        seen = {name: text for name, text in self.devices.items() if text is not None}
        # As torchrun does, with the available cores: processes would otherwise compete for them.
        threads = str(max(1, (os.cpu_count() or 1) // processes))
        return {"OMP_NUM_THREADS": threads, **given, **seen}

    def _error(self, job: StageJob, ended: Died | None, left: Left, silent: list[int]) -> PtError:
        """Return the error of a failed job: the process that caused it, and its log."""
        if silent:
            return StageError(_hanging(job, self._member(job, silent[0])))
        for index, code in ended.codes if ended else ():
            if code < 0 and code != -15:  # the launcher itself ends the others with SIGTERM
                return self._member(job, index).died(job, code)
        found = left.first_failure()
        if found is None:
            index, code = next(iter(ended.codes)) if ended else (0, 1)
            return self._member(job, index).died(job, code)
        index, error = found
        if error.exit == StageError.exit:
            self._member(job, index).sign(error)
        return error

    def _member(self, job: StageJob, index: int) -> Member:
        return Member(index, job.compute.processes, self.log)


@dataclass(frozen=True)
class Member:
    """Rank `index` of `size`; `log` is that of rank 0."""

    index: int
    size: int
    log: Path

    @property
    def words(self) -> str:
        """The process in words: "process 1 of 2"."""
        return f"process {self.index} of {self.size}"

    @property
    def own_log(self) -> str:
        """Path of its log, as shown to users."""
        return shown(log_of(self.log, self.index))

    def died(self, job: StageJob, code: int | None) -> StageError:
        """Return the error for a process that exited with `code` without a message."""
        return StageError(died(job, code, self.words, self.own_log))

    def sign(self, error: PtError) -> None:
        """Add a note to `error` that it is from this process."""
        error.diagnostics = noted(error.diagnostics, f"{self.words}; its log: {self.own_log}")


def _hanging(job: StageJob, member: Member) -> Diagnostic:
    message = f'{member.words} of "{job.stage}" hangs: no sign of life for {SILENCE:.0f} s'
    notes = (f"its log: {member.own_log}", kept(job))
    return Diagnostic("worker-hangs", message, pointer=pointer_of(job), notes=notes)


def log_of(log: Path, index: int) -> Path:
    """Return the log of rank `index` (run.log, run.1.log, …)."""
    return log if index == 0 else log.with_name(f"{log.stem}.{index}{log.suffix}")
