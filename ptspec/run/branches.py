"""Run independent stages of the stage tree at the same time.

Everything but the training itself runs in one thread, the run's: workers report through a queue, so that
events, manifest, measurements and checks need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import Any

from ptspec.diagnostics import Diagnostic, Interrupted, PtError, first_line
from ptspec.events import Listener, Warned
from ptspec.launch.job import Launch, StageJob
from ptspec.recipe.compute_rules import RAY
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.recipe.reward_parts import with_parts
from ptspec.recipe.second_models import second_models_of
from ptspec.training.stop_request import StopRequest


def needed(plan: Plan, stages: Sequence[Stage]) -> dict[str, frozenset[str]]:
    """Return stage name -> the stages that must finish first.

    Those it starts from, that make its reward models and teacher, and that its checks or the evaluation's
    judge compare with. Of stages that start from the same outside folder the first measures it, and the
    others wait.
    """
    names = [stage.name for stage in stages]
    found = {}
    for number, stage in enumerate(stages):
        earlier = names[:number]
        asked = {
            *(name for name, _ in stage.comes_from),
            *(check.over for check in stage.checks),
            *_second_models(plan, stage),
        }
        if stage.pick is not None:
            asked |= {*stage.pick.variants, *(check.over for check in stage.pick.keep)}
        if plan.evaluation is not None and stage.parent != BASE and stage.parent not in names:
            asked |= {other.name for other in stages[:number] if other.parent == stage.parent}
        found[stage.name] = frozenset(name for name in asked if name in earlier)
    return found


def _second_models(plan: Plan, stage: Stage) -> Iterator[str | None]:
    yield from (second.path for second in second_models_of(plan, stage))
    judge = plan.judges.get((plan.evaluation.judge or "") if plan.evaluation else "")
    by_judge = [judge.reward] if judge is not None and judge.reward is not None else []
    yield from (plan.rewards[name].model for name in with_parts(by_judge, plan.rewards))


@dataclass(frozen=True)
class Ended:
    """The end of a stage's job; `error`: the exception it raised."""

    stage: Stage
    error: BaseException | None


@dataclass
class SideBySide:
    """Start each stage as soon as its prerequisites are finished; the cluster schedules its workers.

    `jobs` yields a stage's jobs and does everything between them. `workers` runs a job on the cluster in its
    own thread; `alone` runs one of another launcher while nothing else runs. After an error nothing new
    starts and running jobs finish.
    """

    jobs: Callable[[Stage], Iterator[StageJob]]
    needed: Mapping[str, frozenset[str]]
    workers: Launch
    alone: Launch
    messages: SimpleQueue[Any]
    listener: Listener
    stop_request: StopRequest
    _running: dict[str, Iterator[StageJob]] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _errors: list[BaseException] = field(default_factory=list)

    def run(self, stages: Sequence[Stage]) -> None:
        """Run `stages`. Raises the first error with notes of the others, or `Interrupted`."""
        waiting = list(stages)
        while True:
            waiting = self._begin(waiting)
            if not self._running:
                break
            said = self.messages.get()
            if isinstance(said, Ended):
                self._ended(said)
            else:
                self.listener(said)
        self._raise()
        if waiting and (reason := self.stop_request.reason) is not None:
            message = f"{reason}: {waiting[0].name} was not started; the same command starts it"
            raise Interrupted(Diagnostic("interrupted", message, pointer=waiting[0].at))

    def _begin(self, waiting: Sequence[Stage]) -> list[Stage]:
        """Start the stages that can start; return those that wait."""
        left = list(waiting)
        for stage in waiting:
            # Checked each time: a stage that is reused lets others start at once.
            may_begin = self._may_go_on() and self.needed[stage.name] <= self._done
            if may_begin and (stage.compute.launcher == RAY or not self._running):
                left.remove(stage)
                self._running[stage.name] = self.jobs(stage)
                self._next(stage)
        return left

    def _may_go_on(self) -> bool:
        return not self._errors and self.stop_request.reason is None

    def _next(self, stage: Stage) -> None:
        """Start the next job of `stage`, unless it is finished."""
        try:
            job = next(self._running[stage.name], None)
            while job is not None and job.compute.launcher != RAY:
                self.alone(job)
                job = next(self._running[stage.name], None)
        except BaseException as error:
            self._failed(stage, error)
            return
        if job is None:
            del self._running[stage.name]
            self._done.add(stage.name)
            return
        Thread(target=self._work, args=(stage, job), name=f"ptspec-{stage.name}", daemon=True).start()

    def _work(self, stage: Stage, job: StageJob) -> None:
        error: BaseException | None = None
        try:
            self.workers(job)
        except BaseException as raised:
            error = raised
        self.messages.put(Ended(stage, error))

    def _ended(self, ended: Ended) -> None:
        if ended.error is None:
            self._next(ended.stage)
        else:
            self._failed(ended.stage, ended.error)

    def _failed(self, stage: Stage, error: BaseException) -> None:
        del self._running[stage.name]
        self._errors.append(error)
        if isinstance(error, KeyboardInterrupt):
            raise error
        if self._running and not isinstance(error, Interrupted):
            others = ", ".join(self._running)
            text = (
                f"ended with an error: {first_line(error)}; the stages running beside it are finished first"
            )
            self.listener(Warned(f"{text}: {others}", stage.name))

    def _raise(self) -> None:
        if not self._errors:
            return
        # The original error comes before those of stages that a stop request has ended.
        first = min(self._errors, key=lambda error: isinstance(error, Interrupted))
        if isinstance(first, PtError):
            others = [error for error in self._errors if error is not first and isinstance(error, PtError)]
            first.diagnostics += tuple(told for error in others for told in error.diagnostics)
        raise first
