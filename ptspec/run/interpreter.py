"""The loop over a plan's stages: reuse or train, measure, check, publish. Prints nothing.

Each stage: input folder → policy and data → trainer → folder → evaluation of that folder → rename to its
final name. Nothing else passes from one stage to the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ptspec.accelerator import device_words
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, Interrupted
from ptspec.evaluation.checks import Outcome
from ptspec.evaluation.measurement import Measurement
from ptspec.events import (
    Listener,
    Preparing,
    RunFinished,
    StageFinished,
    StageMerged,
    StageReused,
    StageTrained,
    Warned,
)
from ptspec.launch.accelerate import SeveralProcesses
from ptspec.launch.job import Launch, StageJob
from ptspec.launch.local import OwnProcess
from ptspec.recipe.compute_rules import RAY
from ptspec.recipe.plan import BASE, CheckSpec, Plan, Stage
from ptspec.run.ask_checks import ask
from ptspec.run.begin_work import begin_work
from ptspec.run.disk_space import check_disk
from ptspec.run.evaluations import Evaluations
from ptspec.run.one_process import every_gpu
from ptspec.run.options import LOG, Options
from ptspec.run.pick_stage import Matrices
from ptspec.run.run_started import run_started
from ptspec.run.slim import slim
from ptspec.run.stage_folders import StageFolders
from ptspec.run.stage_words import never_measured
from ptspec.store.content_hashes import Hashes
from ptspec.store.files import read_json
from ptspec.store.fingerprint import covered_by
from ptspec.store.half_made import is_trained
from ptspec.store.manifest import write_manifest
from ptspec.store.other_runs import OtherRuns
from ptspec.store.output_hashes import OutputHashes
from ptspec.store.reuse import Before, Reuse, ReuseState, left_behind, reuse_of
from ptspec.store.stage_folder import (
    RECORD,
    finished_record,
    recover,
)
from ptspec.training.stop_request import StopRequest

if TYPE_CHECKING:
    from ptspec.launch.ray_cluster import Cluster
    from ptspec.run.stage_work import StageWork


@dataclass(frozen=True)
class Outcomes:
    """The results of a run: measurements by policy name, in order, and checks."""

    measurements: dict[str, Measurement]
    checks: tuple[Outcome, ...]


class Run:
    """One run of a plan in its output folder, which the caller has locked."""

    def __init__(
        self,
        plan: Plan,
        listener: Listener,
        options: Options,
        stop_request: StopRequest,
        cluster: Cluster | None = None,
    ) -> None:
        self.stop_request = stop_request
        self.plan = plan
        self.listener = listener
        self.options = options
        self.hashes = Hashes(plan)
        self.output_hashes = OutputHashes(plan.output)
        self.other_runs = OtherRuns(plan.output)
        self.folders = StageFolders(plan.output, self.output_hashes, listener, options.fresh)
        self.evaluations = Evaluations(plan, self.hashes, listener)
        self._work: StageWork | None = None
        log = plan.output / LOG
        self.own_process = OwnProcess(listener, stop_request, log)
        self.together: Launch | None = None
        self.several_processes = SeveralProcesses(listener, stop_request, log, every_gpu())
        self.cluster = cluster
        self.fingerprints: dict[str, str] = {BASE: BASE}
        self.matrices = Matrices(
            plan, self.hashes, self.folders, self.evaluations, self.fingerprints, options, listener
        )
        self.begun: set[str] = set()
        self.checks: dict[str, list[Outcome]] = {}

    def go(self) -> Outcomes:
        """Run the stages. Raises `CheckError` if a check that stops the run fails."""
        begun = time.monotonic()
        stages = self._wanted()
        check_disk(self.plan, stages, fresh=self.options.fresh)
        self._write_manifest()
        self._announce(stages)
        if self.plan.evaluation is not None and self.stop_request.reason is None:
            (self.plan.output / BASE).mkdir(exist_ok=True)
            self._do_all(self._evaluate(None, self.plan.output / BASE))
            self._write_manifest()
        if self.cluster is not None:
            self._side_by_side(stages, self.cluster)
        else:
            self._one_after_the_other(stages)
        if left := left_behind(self.plan):
            names_left = ", ".join(shown(folder) for folder in left)
            self.listener(Warned(f"stages that the recipe no longer has are left as they are: {names_left}"))
        names = tuple(stage.name for stage in stages)
        self.listener(RunFinished(str(self.plan.output), time.monotonic() - begun, names))
        checks = [outcome for name in names for outcome in self.checks.get(name, ())]
        return Outcomes(self.evaluations.in_order(), tuple(checks))

    def _one_after_the_other(self, stages: tuple[Stage, ...]) -> None:
        for stage in stages:
            if self.stop_request.reason is not None:
                raise Interrupted(_not_begun(stage, self.stop_request.reason))
            self._do_all(self._stage(stage))
            self._check(stage, self._checks_of(stage))
            self._write_manifest()

    def _side_by_side(self, stages: tuple[Stage, ...], cluster: Cluster) -> None:
        """Run independent stages in parallel; the run's checks follow at the end."""
        # Imported here: they need an optional extra.
        from ptspec.launch.ray import RayWorkers
        from ptspec.run.branches import SideBySide, needed

        messages: SimpleQueue[Any] = SimpleQueue()
        workers = RayWorkers(cluster, messages.put, self.stop_request, self.plan.output / LOG)
        shown: dict[str, list[str]] = {}

        def jobs(stage: Stage) -> Iterator[StageJob]:
            if stage.pick is not None:
                shown[stage.name] = [made.name for made in self.evaluations.made(stage)]
            for job in self._stage(stage):
                shown[job.stage] = [made.name for made in job.measured]
                yield job
            self._check(stage, stage.checks)
            later = [one for one in stages if one.name in shown]
            if self.plan.evaluation is not None:
                for one in later:
                    if self.evaluations.show_with_all_before(one, shown[one.name]):
                        del shown[one.name]
            self._write_manifest()

        SideBySide(
            jobs=jobs,
            needed=needed(self.plan, stages),
            workers=workers,
            alone=lambda job: self._launch(job)(job),
            messages=messages,
            listener=self.listener,
            stop_request=self.stop_request,
        ).run(stages)
        if self.plan.stages[-1] in stages:
            self._check(stages[-1], self.plan.checks)

    def _wanted(self) -> tuple[Stage, ...]:
        if self.options.until is None:
            return self.plan.stages
        return self.plan.upto(self.options.until)

    def _announce(self, stages: tuple[Stage, ...]) -> None:
        device = device_words() if self.cluster is None else self.cluster.words
        self.listener(run_started(self.plan, stages, device))

    def _stage(self, stage: Stage) -> Iterator[StageJob]:
        """Yield the jobs of `stage`; each must be finished before the next is requested."""
        self.begun.add(stage.name)
        if stage.pick is not None:
            self.matrices.pick(stage, stage.pick)
            return
        self.matrices.number(stage)
        final = self.plan.output / stage.name
        recover(final)
        covered = covered_by(self.plan, stage, self.fingerprints, self.hashes)
        before, fresh = Before(dict(self.fingerprints)), self.options.fresh
        reuse = reuse_of(self.plan, stage, covered, self.output_hashes, self.other_runs, before, fresh=fresh)
        self.fingerprints[stage.name] = reuse.fingerprint
        if self.folders.take_over(stage, reuse, before.fingerprints):
            self.output_hashes.written(stage.name)
        elif reuse.state is ReuseState.REUSED:
            if reuse.renamed_from is not None:
                self.folders.rename(reuse.renamed_from, stage)
            record = finished_record(self.plan.output, stage.name) or {}
            self.listener(StageReused(stage.name, str(record.get("finished"))))
            if (missing := never_measured(stage, record)) is not None:
                self.listener(Warned(missing, stage.name))
        else:
            yield from self._train(stage, reuse)
            self.output_hashes.written(stage.name)
        if self.plan.evaluation is not None:
            yield from self._evaluate(stage, final)

    def _evaluate(self, stage: Stage | None, folder: Path) -> Iterator[StageJob]:
        """Evaluate the policy in `folder` (no stage: the base), unless its evaluation is stored."""
        if not self.evaluations.take(stage, folder):
            yield from self._done(self._job(stage, folder, trains=False))

    def _launch(self, job: StageJob) -> Launch:
        """Return the launcher of `job`: the processes of this launch, new processes, or this process."""
        if self.together is not None:
            return self.together
        if self.cluster is not None and job.compute.launcher == RAY:
            # Imported here: it needs an optional extra.
            from ptspec.launch.ray import RayWorkers

            return RayWorkers(self.cluster, self.listener, self.stop_request, self.plan.output / LOG)
        if job.compute.world > 1:
            return self.several_processes
        return self.own_process if self.options.isolate else self.work().do

    def work(self) -> StageWork:
        """The worker of this process.

        Libraries are imported at its first job: a run without jobs here does not need them.
        """
        if self._work is None:
            self.listener(Preparing("loading torch, transformers, trl, peft"))
            self._work = begin_work(
                self.plan,
                self._wanted(),
                self.evaluations,
                self.listener,
                self.stop_request,
                allow_code=self.options.allow_code,
            )
        return self._work

    def _do_all(self, jobs: Iterator[StageJob]) -> None:
        for job in jobs:
            self._launch(job)(job)

    def _done(self, job: StageJob) -> Iterator[StageJob]:
        """Run `job` and take its measurement."""
        yield job
        if self.plan.evaluation is not None:
            self.evaluations.adopt(job.stage, job.folder)

    def _job(self, stage: Stage | None, folder: Path, *, trains: bool) -> StageJob:
        return StageJob(
            plan=self.plan,
            stage=stage.name if stage is not None else BASE,
            folder=folder,
            trains=trains,
            allow_code=self.options.allow_code,
            hashed=self.hashes.hashed(),
            measured=self.evaluations.made(stage),
        )

    def _train(self, stage: Stage, reuse: Reuse) -> Iterator[StageJob]:
        """Make the stage's folder, resuming an earlier run in training or after it."""
        covered, fingerprint = dict(reuse.covered), reuse.fingerprint
        partial = self.folders.partial(stage, reuse)
        if is_trained(partial, fingerprint):
            record = read_json(partial / RECORD)
            if stage.merge is not None:
                self.listener(StageMerged(stage.name, stage.merge.words, record["seconds"]))
            else:
                self.listener(StageTrained(stage.name, record["steps"], record["seconds"], {}))
        else:
            job = self._job(stage, partial, trains=True)
            job = replace(job, fingerprint=fingerprint, covered=covered, reason=reuse.changed or None)
            yield from self._done(job)
        slim(stage, partial)
        if self.plan.evaluation is not None:
            yield from self._evaluate(stage, partial)
        final = self.folders.publish(stage, reuse)
        if self._work is not None:
            self._work.bases.moved(partial, final)
        self.listener(StageFinished(stage.name, str(final)))

    def _check(self, stage: Stage, checks: Sequence[CheckSpec]) -> None:
        """Evaluate `checks` on the result of `stage`; nothing if the run has no evaluation."""
        if self.plan.evaluation is not None:
            asked = ask(
                self.plan,
                stage,
                checks,
                self.evaluations.measurements,
                self.listener,
                ignored=self.options.ignore_checks,
                unbegun=[other.name for other in self.plan.stages if other.name not in self.begun],
            )
            self.checks.setdefault(stage.name, []).extend(asked)

    def _checks_of(self, stage: Stage) -> tuple[CheckSpec, ...]:
        """Return the checks of `stage`, and the run's after the last stage."""
        return (*stage.checks, *(self.plan.checks if stage is self.plan.stages[-1] else ()))

    def _write_manifest(self) -> None:
        for name in self.evaluations.written:
            self.output_hashes.written(name)
        self.evaluations.written.clear()
        stages = {}
        for stage in self.plan.stages:
            if record := finished_record(self.plan.output, stage.name):
                stages[stage.name] = {
                    "method": stage.method.name,
                    "parent": stage.parent,
                    "finished": record.get("finished"),
                    **self.output_hashes.stage(stage.name, record.get("fingerprint")),
                }
        write_manifest(
            self.plan,
            self.hashes,
            self._work.bases.device.words if self._work is not None else device_words(),
            stages,
            base=self.output_hashes.base(),
            command=self.options.command,
        )


def _not_begun(stage: Stage, reason: str) -> Diagnostic:
    message = f"{reason}: {stage.name} was not started; the same command starts it"
    return Diagnostic("interrupted", message, pointer=stage.at)
