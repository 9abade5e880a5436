"""Run a job on the nodes of a Ray cluster.

If a worker or node is lost, the job restarts from the last checkpoint.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Interrupted, PtError, StageError
from ptspec.events import Listener, Warned
from ptspec.launch.accelerate import log_of
from ptspec.launch.child import POLL, died, kept, pointer_of
from ptspec.launch.job import StageJob, as_text, log_for
from ptspec.launch.protocol import Done, Failed, Happened, error_of, read
from ptspec.launch.ray_actor import Messages, Over
from ptspec.launch.ray_cluster import Cluster
from ptspec.launch.ray_nodes import must_be_alike, passed_on, paths_of
from ptspec.launch.ray_placement import Lost, Placed, placed, why_lost
from ptspec.launch.several import SILENCE
from ptspec.launch.smaller_passes import with_smaller_passes
from ptspec.store.half_made import is_trained, last_step
from ptspec.training.stop_request import StopRequest

MAX_FAILURES = 3
GRACE = 60.0
"""Seconds for the other workers to end after a failure: by then its cause and a lost node are known."""
TOKEN = ".seen-by-all-nodes"


@dataclass(frozen=True)
class RayWorkers:
    """Runs jobs on `cluster`. Workers log beside `log`; events go to `listener`."""

    cluster: Cluster
    listener: Listener
    stop_request: StopRequest
    log: Path

    def __call__(self, job: StageJob) -> None:
        """Run `job`. Raises the error that ended it, the first of several.

        `StageError` if workers were lost more often than the recipe allows.
        """
        with_smaller_passes(job, self._until_done, self.listener)

    def _until_done(self, job: StageJob) -> None:
        most = int((job.compute.ray or {}).get("max_failures", MAX_FAILURES))
        times = 0
        while True:
            try:
                return self._once(job)
            except Lost as lost:
                times += 1
                if self.stop_request.reason is not None:
                    message = f"{self.stop_request.reason}: {kept(job)}"
                    raise Interrupted(Diagnostic("interrupted", message, pointer=pointer_of(job))) from None
                if times > most:
                    raise StageError(self._lost_too_often(job, lost, most)) from None
                again = f"{'training' if job.trains else 'evaluation'} begins again"
                if job.trains and (step := last_step(job.folder)):
                    again += f" from step {step}"
                text = f"{lost.which} is lost: {lost.why}; {again} (time {times} of at most {most})"
                self.listener(Warned(text, job.stage))
            if job.trains and is_trained(job.folder, job.fingerprint):
                if job.plan.evaluation is None:
                    return None
                job = replace(job, trains=False)

    def _once(self, job: StageJob) -> None:
        token = job.plan.output / TOKEN
        text = secrets.token_hex(8)
        # One per job: stages may start in parallel.
        token = token.with_name(f"{token.name}-{text}").absolute()
        token.write_text(text, encoding="utf-8")
        paths = paths_of(job)
        try:
            with placed(
                job,
                self.cluster,
                self.stop_request,
                self.listener,
                lambda actor: actor.see.remote(str(token), text, paths),
            ) as workers:
                must_be_alike(job, workers)
                self._begin(job, workers)
                _Work(self, job, workers).do()
        finally:
            token.unlink(missing_ok=True)

    def _begin(self, job: StageJob, workers: Sequence[Placed]) -> None:
        first, log = workers[0], log_for(job, self.log).absolute()
        port = _got(first.actor.free_port.remote())
        asked = []
        for worker in workers:
            variables = passed_on(job)
            if len(workers) > 1:
                variables |= {
                    "RANK": str(worker.index),
                    "WORLD_SIZE": str(len(workers)),
                    "LOCAL_RANK": str(worker.local),
                    "MASTER_ADDR": first.seen.address,
                    "MASTER_PORT": str(port),
                }
            own = str(log_of(log, worker.index))
            asked.append(worker.actor.begin.remote(as_text(job), str(Path.cwd()), own, variables))
        _got(asked)

    def _lost_too_often(self, job: StageJob, lost: Lost, most: int) -> Diagnostic:
        times = f"{most + 1} time{'s' * (most > 0)}"
        message = f'workers of "{job.stage}" were lost {times}, the last one: {lost.which}: {lost.why}'
        hint = 'more may be lost with "ray": {"max_failures": …}'
        notes = (f"logs: {shown(log_for(job, self.log))} and the like", kept(job))
        return Diagnostic("worker-died", message, pointer=pointer_of(job), hint=hint, notes=notes)


@dataclass
class _Work:
    """Running workers, until the last one has ended."""

    launch: RayWorkers
    job: StageJob
    workers: Sequence[Placed]
    last: Done | Failed | None = None
    over: dict[int, Over] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)

    def do(self) -> None:
        asked = {worker.actor.messages.remote(): worker for worker in self.workers}
        is_told, left = False, GRACE
        while asked and left > 0 and not self._any_lost():
            if not is_told and (reason := self.launch.stop_request.reason) is not None:
                self.workers[0].actor.stop.remote(reason)
                is_told = True
            ready, _ = ray.wait(list(asked), timeout=POLL)
            if not ready and any(over.code for over in self.over.values()):
                left -= POLL
            for one in ready:
                worker = asked.pop(one)
                if self._hear(worker, one):
                    asked[worker.actor.messages.remote()] = worker
        self._end()

    def _any_lost(self) -> bool:
        return bool(self.lost) or any(over.code < 0 or over.is_silent for over in self.over.values())

    def _hear(self, worker: Placed, asked: Any) -> bool:
        """Handle a worker's messages; return whether more may come."""
        try:
            messages: Messages = ray.get(asked)
        except RayActorError as error:
            self.lost[worker.index] = why_lost(error, worker.seen.node)
            return False
        for text in messages.lines:
            try:
                message = read(text)
            except ValueError:  # cut off
                continue
            if isinstance(message, Happened):
                self.launch.listener(message.event)
            elif isinstance(message, Done | Failed):
                self.last = message
        if messages.over is not None:
            self.over[worker.index] = messages.over
        return messages.over is None

    def _end(self) -> None:
        """Raise the error of the work, unless it succeeded."""
        for worker in self.workers:
            why = self.lost.get(worker.index) or self._why_killed(worker)
            if why is not None:
                raise Lost(f"{self._which(worker.index)} on {worker.where}", why)
        failures = [(*over.failed, index) for index, over in self.over.items() if over.failed]
        if failures:
            _, failed, index = min(failures, key=lambda one: one[0])
            raise self._of(failed, index)
        if isinstance(self.last, Failed):
            raise self._of(self.last, 0)
        for index, over in self.over.items():
            if over.code:
                raise StageError(died(self.job, over.code, self._which(index), self._log(index)))
        if not isinstance(self.last, Done):
            raise StageError(died(self.job, None, self._which(0), self._log(0)))

    def _why_killed(self, worker: Placed) -> str | None:
        over = self.over.get(worker.index)
        if over is None:
            return None
        if over.is_silent:
            return f"no sign of life for {SILENCE:.0f} s"
        if over.code < 0:
            return f"it was killed by {signal.Signals(-over.code).name}"
        failed = over.failed[1] if over.failed else self.last
        is_told = isinstance(failed, Failed) and failed.exit == Interrupted.exit
        if is_told and self.launch.stop_request.reason is None:
            return "its node has ended it"
        return None

    def _of(self, failed: Failed, index: int) -> PtError:
        error = error_of(failed)
        if error.exit == StageError.exit:
            note = f"{self._which(index)} on {self.workers[index].where}; its log: {self._log(index)}"
            error.diagnostics = tuple(replace(d, notes=(*d.notes, note)) for d in error.diagnostics)
        return error

    def _which(self, index: int) -> str:
        return f"process {index} of {len(self.workers)}"

    def _log(self, index: int) -> str:
        return shown(log_of(log_for(self.job, self.launch.log), index))


def _got(asked: Any) -> Any:
    """Return the answers of actors. Raises `Lost` if one is gone."""
    try:
        return ray.get(asked)
    except RayActorError as error:
        raise Lost("a worker", why_lost(error, None)) from error
