"""The loop over a plan's stages: reuse or train, measure, check, publish. Prints nothing.

Every stage goes the same way: what comes in (a folder) → policy and data → trainer → a folder → evaluation
of that folder → the folder gets its name. Nothing else passes from one stage to the next.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import CheckError, Diagnostic, Interrupted, Location
from ptspec.evaluation.checks import Outcome, outcome
from ptspec.evaluation.measurement import Measurement
from ptspec.events import (
    CheckEvaluated,
    Listener,
    RunFinished,
    RunStarted,
    StageFinished,
    StageLine,
    StageReused,
    StageTrained,
    Warned,
)
from ptspec.model.device import Device, training_device
from ptspec.model.handover import describe_adapter
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import BASE, CheckSpec, OnFail, Plan, Stage
from ptspec.run.disk_space import check_disk
from ptspec.run.evaluate_stage import StageEvaluator
from ptspec.run.options import LOG, Options
from ptspec.run.train_stage import StageTrainer, reference_of
from ptspec.store.files import read_json, write_json
from ptspec.store.fingerprint import Hashes, digest, ingredients, parent_fingerprint
from ptspec.store.half_made import (
    MARK,
    is_made_for,
    is_trained,
    kept_aside,
    make_partial,
    read_mark,
    set_aside,
)
from ptspec.store.manifest import now, write_manifest
from ptspec.store.output_hashes import CHANGED, OutputHashes
from ptspec.store.reuse import left_behind, renamed_from, what_changed
from ptspec.store.stage_folder import (
    CHECKPOINTS,
    FORMAT,
    RECORD,
    finished_record,
    partial_folder,
    publish,
    recover,
    rename_finished,
    strip_pickles,
)
from ptspec.training.stop_request import StopRequest
from ptspec.training.train import Trained


@dataclass(frozen=True)
class Outcomes:
    """What a run gave: the measurements by policy name, in order, and the checks."""

    measurements: dict[str, Measurement]
    checks: tuple[Outcome, ...]


class Run:
    """One run of a plan in its output folder, which the caller has locked."""

    def __init__(self, plan: Plan, listener: Listener, options: Options, stop_request: StopRequest) -> None:
        self.stop_request = stop_request
        self.plan = plan
        self.listener = listener
        self.options = options
        self.device: Device = training_device()
        self.hashes = Hashes(plan)
        self.output_hashes = OutputHashes(plan.output)
        self.bases = Bases(plan.model, self.device)
        self.stage_trainer = StageTrainer(
            plan, self.bases, self.hashes, self.device, listener, options, stop_request
        )
        self.stage_evaluator = StageEvaluator(
            plan,
            self.bases,
            self.hashes,
            listener,
            self.stage_trainer.open_reward_model_of,
            options.allow_code,
        )
        self.fingerprints: dict[str, str] = {BASE: BASE}
        self.checks: list[Outcome] = []

    def go(self) -> Outcomes:
        """Runs the stages. Raises `CheckError` where a check that stops did not hold."""
        begun = time.monotonic()
        stages = self._wanted()
        check_disk(self.plan, stages)
        self._write_manifest()
        self._announce(stages)
        if self.plan.evaluation is not None and self.stop_request.reason is None:
            self.stage_evaluator.base()
            self._write_manifest()
        for stage in stages:
            if self.stop_request.reason is not None:
                raise Interrupted(_not_begun(stage, self.stop_request.reason))
            self._stage(stage)
            self._write_manifest()
        if left := left_behind(self.plan):
            names_left = ", ".join(shown(folder) for folder in left)
            self.listener(Warned(f"stages that the recipe no longer has are left as they are: {names_left}"))
        names = tuple(stage.name for stage in stages)
        self.listener(RunFinished(str(self.plan.output), time.monotonic() - begun, names))
        return Outcomes(self.stage_evaluator.measurements, tuple(self.checks))

    def _wanted(self) -> tuple[Stage, ...]:
        if self.options.until is None:
            return self.plan.stages
        names = [stage.name for stage in self.plan.stages]
        return self.plan.stages[: names.index(self.options.until) + 1]

    def _announce(self, stages: tuple[Stage, ...]) -> None:
        setups = dict.fromkeys(describe_adapter(stage.adapter) for stage in stages)
        self.listener(
            RunStarted(
                name=self.plan.name,
                model=shown(Path(self.plan.model.path)) if self.plan.model.local else self.plan.model.path,
                parameters=self.bases.get(stages[0].adapter).parameters,
                setup=", ".join(setups),
                device=self.device.words,
                output=shown(self.plan.output),
                stages=tuple(
                    StageLine(s.name, s.method.name, s.parent, _handover(s), reference_of(s)) for s in stages
                ),
                log=shown(self.plan.output / LOG),
                trained_for=_trained_for(self.plan, stages),
            )
        )

    def _stage(self, stage: Stage) -> None:
        final = self.plan.output / stage.name
        recover(final)
        parent = parent_fingerprint(stage, self.fingerprints, self.hashes)
        covered = ingredients(self.plan, stage, parent, self.hashes)
        fingerprint = self.fingerprints[stage.name] = digest(covered)
        record = finished_record(self.plan.output, stage.name) or self._renamed(stage, fingerprint)
        is_same = record is not None and record.get("fingerprint") == fingerprint and not self.options.fresh
        is_sound = self.output_hashes.is_as_saved(stage.name)
        if record is not None and is_same and is_sound:
            self.listener(StageReused(stage.name, str(record.get("finished")), "unchanged"))
        else:
            self._train(
                stage, covered, fingerprint, CHANGED if is_same else _why_again(stage, record, covered)
            )
            self.output_hashes.written(stage.name)
        if self.plan.evaluation is not None:
            self.stage_evaluator.stage(stage, final)
            self._check(stage)

    def _renamed(self, stage: Stage, fingerprint: str) -> dict[str, Any] | None:
        """The record of a stage that is finished under a name which the recipe no longer has, after it was
        given its new one; its evaluation, which has the old name in it, is made anew."""
        before = None if self.options.fresh else renamed_from(self.plan, fingerprint)
        if before is None or not self.output_hashes.is_as_saved(before):
            return None
        self.listener(
            Warned(f"{before} is called {stage.name} now; nothing else of it has changed", stage.name)
        )
        return rename_finished(self.plan.output, before, stage.name)

    def _train(self, stage: Stage, covered: dict[str, Any], fingerprint: str, reason: str | None) -> None:
        """Makes the stage's folder, going on where a run before stopped: in training, or after it."""
        partial, final = self._partial(stage, covered, fingerprint), self.plan.output / stage.name
        if is_trained(partial, fingerprint):
            record = read_json(partial / RECORD)
            self.listener(StageTrained(stage.name, record["steps"], record["seconds"], {}))
        else:
            trained, distance = self.stage_trainer.make(stage, partial, reason)
            write_json(partial / RECORD, self._record(stage, covered, fingerprint, trained, distance))
        # From here on the record stands for a trained stage: no checkpoint is needed to go on.
        strip_pickles(partial / CHECKPOINTS)
        if self.plan.evaluation is not None:
            self.stage_evaluator.stage(stage, partial)
        (partial / MARK).unlink(missing_ok=True)
        publish(partial, final)
        self.listener(StageFinished(stage.name, str(final)))

    def _partial(self, stage: Stage, covered: dict[str, Any], fingerprint: str) -> Path:
        """The folder to make the stage in, with what was made of this very stage before; what was made with
        other settings is set aside."""
        output, partial = self.plan.output, partial_folder(self.plan.output, stage.name)
        if not is_made_for(partial, fingerprint):
            why = ", ".join(what_changed(read_mark(partial), stage.parent, covered))
            if (aside := set_aside(output, stage.name)) is not None:
                text = f"what was half made is set aside in {shown(aside)}"
                self.listener(Warned(f"{text}: {why or 'it does not say of which settings'}", stage.name))
            if (kept := kept_aside(output, stage.name, fingerprint)) is not None:
                kept.rename(partial)
                self.listener(Warned(f"goes on with what was set aside in {shown(kept)}", stage.name))
        return make_partial(output, stage.name, fingerprint, covered)

    def _record(
        self,
        stage: Stage,
        covered: dict[str, Any],
        fingerprint: str,
        trained: Trained,
        saved_distance: float,
    ) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "stage": stage.name,
            "method": stage.method.name,
            "parent": stage.parent,
            "handover": _handover(stage),
            "reference": reference_of(stage),
            "adapter": describe_adapter(stage.adapter),
            "fingerprint": fingerprint,
            "ingredients": covered,
            "config": trained.config,
            "steps": trained.steps,
            "trainable_parameters": trained.trainable_parameters,
            "seconds": round(trained.seconds, 3),
            "peak_memory_bytes": trained.peak_memory_bytes,
            "checks": {
                "policy_to_handed_over": trained.beginning.handed_over,
                "policy_to_reference": trained.beginning.reference,
                "saved_to_trained": saved_distance,
                "unit": "mean |difference| of token log-probabilities of the probes, nats",
            },
            "finished": now(),
        }

    def _check(self, stage: Stage) -> None:
        failed: list[Diagnostic] = []
        of_run = self._run_checks(stage)
        for check in (*stage.checks, *of_run):
            result = outcome(check, stage.name, stage.parent, self.stage_evaluator.measurements)
            self.checks.append(result)
            on_fail = OnFail.WARN if self.options.ignore_checks else check.on_fail
            place = None if check in of_run else stage.name
            self.listener(CheckEvaluated(place, result.reason, result.held, on_fail.value, result.bounds))
            if not result.held and on_fail is OnFail.STOP:
                failed.append(self._check_failed(stage, result))
        if failed:
            raise CheckError(*failed)

    def _run_checks(self, stage: Stage) -> tuple[CheckSpec, ...]:
        return self.plan.checks if stage is self.plan.stages[-1] else ()

    def _check_failed(self, stage: Stage, result: Outcome) -> Diagnostic:
        later = [other.name for other in self.plan.stages[self.plan.stages.index(stage) + 1 :]]
        skipped = f"not started: {', '.join(later)}" if later else "it was the last stage"
        return Diagnostic(
            "check-failed",
            f'stage "{stage.name}": the check on {result.check.metric} failed'
            + (f": {result.reason}" if result.reason else ""),
            Location(str(self.plan.recipe)),
            result.check.at,
            notes=(f"{stage.name} is kept in {self.plan.output / stage.name}; {skipped}",),
        )

    def _write_manifest(self) -> None:
        for name in self.stage_evaluator.written:
            self.output_hashes.written(name)
        self.stage_evaluator.written.clear()
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
            self.device.words,
            stages,
            base=self.output_hashes.base(),
            chat_template=self.chat_template,
            command=self.options.command,
        )

    @cached_property
    def chat_template(self) -> str | None:
        """The hash of the chat template in use."""
        template = self.bases.get(self.plan.stages[0].adapter).tokenizer.chat_template
        return None if template is None else digest(template)


def _trained_for(plan: Plan, stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """The rewards that the stages learn from, and the metrics that their checks and the run's name."""
    rewards = [name for stage in stages for name in stage.rewards]
    checks = [check.metric for stage in stages for check in stage.checks]
    return tuple(dict.fromkeys([*rewards, *checks, *(check.metric for check in plan.checks)]))


def _why_again(stage: Stage, record: dict[str, Any] | None, covered: dict[str, Any]) -> str | None:
    if record is None:
        return None
    return ", ".join(what_changed(record, stage.parent, covered)) or "asked for with --fresh"


def _not_begun(stage: Stage, reason: str) -> Diagnostic:
    message = f"{reason}: {stage.name} was not begun; the same command goes on with it"
    return Diagnostic("interrupted", message, pointer=stage.at)


def _handover(stage: Stage) -> str | None:
    return stage.handover.value if stage.handover else None
