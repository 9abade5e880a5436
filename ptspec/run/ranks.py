"""Several processes of one job: how they meet, and how rank 0 directs the others.

If a launcher has started this command in each process, rank 0 is the controller and the others run its jobs
with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ptspec.diagnostics import Diagnostic, Exit, InputError, PtError
from ptspec.events import Listener
from ptspec.launch.accelerate import Member, log_of
from ptspec.launch.job import Launch, StageJob
from ptspec.launch.several import FOLDER, Left
from ptspec.launched import Rank
from ptspec.library_output import into_log
from ptspec.processes import Processes, current, join, leave
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.json_pointer import join as joined
from ptspec.recipe.plan import Plan, Stage
from ptspec.run.begin_work import begin_work
from ptspec.run.errors import logged, told
from ptspec.run.evaluations import Evaluations
from ptspec.run.one_process import SECONDS_FOR_RANK_0, prepare_worker
from ptspec.run.options import LOG
from ptspec.store.content_hashes import Hashes
from ptspec.training.stop_request import StopRequest

if TYPE_CHECKING:
    from ptspec.run.stage_work import StageWork

TIMEOUT = 1800
"""Seconds; transformers' own `ddp_timeout`."""
SECONDS_TO_MEET = 60
"""Time limit in which launched processes import torch and connect."""
_met = False


def join_for(job: StageJob) -> Processes:
    """Make this process one of those that run `job` together."""
    stage = job.plan.stage(job.stage)
    given = None
    if stage is not None and stage.merge is None:
        given = EffectiveConfig(stage, stage.compute, gpu=False).value("ddp_timeout")
    return join(timedelta(seconds=given if isinstance(given, int) else TIMEOUT))


def announce(rank: Rank) -> None:
    """Set the environment variables that torch reads, for launchers other than torchrun.

    Raises `InputError` if the launcher does not say where the processes meet; rank 0 prints it.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    meeting = {
        "MASTER_ADDR": os.environ.get("SLURM_LAUNCH_NODE_IPADDR"),
        "MASTER_PORT": str(20_000 + int(job) % 20_000) if job.isdecimal() else None,
    }
    ranks = {"RANK": str(rank.index), "WORLD_SIZE": str(rank.size), "LOCAL_RANK": str(rank.local)}
    for name, text in {**ranks, **meeting}.items():
        if text is not None:
            os.environ.setdefault(name, text)
    missing = [name for name in meeting if name not in os.environ]
    if missing and rank.index > 0:
        time.sleep(SECONDS_FOR_RANK_0)
        raise InputError()
    if missing:
        message = f"{rank.launcher} started {rank.size} processes and does not say where they meet"
        raise InputError(Diagnostic("no-rendezvous", message, hint=f"set {' and '.join(missing)}"))


def outlive_launcher() -> None:
    """Keep this process alive to report an error when its launcher terminates it.

    A launcher that lost a process sends SIGTERM repeatedly and kills the rest half a minute later. During a
    run the signal requests a stop.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def join_found(rank: Rank, seconds: int = TIMEOUT) -> Processes:
    """Join the processes that a launcher has started."""
    global _met
    _met = True
    announce(rank)
    return join(timedelta(seconds=seconds))


def have_met() -> bool:
    """Return whether this process is connected to the others of its launcher."""
    return _met


def dismiss_unmet(rank: Rank) -> None:
    """End the processes that wait for rank 0 before they are connected: torchrun does, srun does not."""
    with contextlib.suppress(Exception):  # they have ended already
        join_found(rank, SECONDS_TO_MEET).of_first(None)
        leave()


def must_fit(plan: Plan, rank: Rank) -> None:
    """Raise `InputError` for stages that need another number of processes than were started."""
    for stage in plan.stages:
        if stage.compute.world != rank.size:
            asked = f"{stage.compute.world} process{'es' * (stage.compute.world != 1)}"
            message = f'stage "{stage.name}" asks for {asked}, and {rank.launcher} started {rank.size}'
            where = joined(stage.at, "compute")
            hint = f"take its own compute out, or start pt run without {rank.launcher.partition(' ')[0]}"
            raise InputError(Diagnostic("several-processes", message, None, where, hint))


@dataclass
class Together:
    """Runs jobs in this process, rank 0, and in those that follow it."""

    output: Path
    work: Launch | None = None
    _within: bool = False

    def __call__(self, job: StageJob) -> None:
        """Run `job`. Raises the error that ended it, the first of several."""
        assert self.work is not None
        team, left = current(), Left(self.output / FOLDER)
        shutil.rmtree(left.folder, ignore_errors=True)
        left.folder.mkdir()
        self._within = True
        team.of_first(job)
        left.live(team.index)
        try:
            self.work(job)
        except Exception as error:
            logging.getLogger("ptspec").exception("the job failed")
            if (cause := _cause(job, left, error)) is not error:
                raise cause from error
            raise
        finally:
            shutil.rmtree(left.folder, ignore_errors=True)
        self._within = False

    def dismiss(self) -> None:
        """End the other processes, unless they are within a job, which ends with this process."""
        if not self._within:
            current().of_first(None)
            leave()


def _cause(job: StageJob, left: Left, error: Exception) -> Exception:
    """Return the cause of rank 0's error: an earlier failure or the end of another process."""
    team, log = current(), job.plan.output / LOG
    found = left.first_failure()
    if found is not None and found[0] != team.index and _is_of_libraries(error):
        index, theirs = found
        Member(index, team.size, log).sign(theirs)
        return theirs
    gone = team.gone()
    if found is None and gone is not None:
        return Member(gone, team.size, log).died(job, None)
    return error


def _is_of_libraries(error: Exception) -> bool:
    """Return whether a library raised the error, such as a lost connection."""
    if not isinstance(error, PtError):
        return True
    return error.__cause__ is not None and not isinstance(error.__cause__, PtError)


def follow(rank: Rank) -> None:
    """Run rank 0's jobs with it until it dismisses this process. Raises what they raise."""
    prepare_worker(rank)
    stop_request = StopRequest(from_launcher=True)
    team = join_found(rank)
    work, before = None, None
    while (job := _next_job(team)) is not None:
        # Signals are caught only while a job runs: a waiting process ends at once.
        with stop_request.listening(), _left(job, rank):
            work = work or work_on(job, job.plan.stages, lambda event: None, stop_request)
            if before is not None and not before.folder.exists():
                work.bases.moved(before.folder, before.plan.output / before.stage)
            work.do(job)
        before = job
    leave()


def _next_job(team: Processes) -> StageJob | None:
    """Return rank 0's next job; exit if rank 0 has ended."""
    try:
        return team.of_first(None)
    except RuntimeError:
        os._exit(Exit.FAILED)


@contextlib.contextmanager
def _left(job: StageJob, rank: Rank) -> Iterator[None]:
    """Keep the error that ended `job`, for rank 0 to report."""
    left = Left(job.plan.output / FOLDER)
    left.live(rank.index)
    try:
        with told(job.plan), into_log(log_of(job.plan.output / LOG, rank.index)), logged():
            yield
    except PtError as error:
        left.end(rank.index, error)


def work_on(
    job: StageJob, stages: Sequence[Stage], listener: Listener, stop_request: StopRequest
) -> StageWork:
    """Return the worker for `job` in this process, and for others of `stages` after it."""
    evaluations = Evaluations(job.plan, Hashes(job.plan), listener)
    return begin_work(job.plan, stages, evaluations, listener, stop_request, allow_code=job.allow_code)
