"""Run a stage's job: train, verify, record, evaluate; in the controller or in a worker."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ptspec.accelerator import has_accelerator
from ptspec.events import Listener, Warned
from ptspec.launch.job import StageJob
from ptspec.model.device import Device, training_device
from ptspec.model.model_cache import Bases
from ptspec.performance.record import as_json, forget_decision, read_decision
from ptspec.processes import current
from ptspec.recipe.plan import Plan, Stage
from ptspec.run.evaluate_stage import StageEvaluator
from ptspec.run.evaluations import Evaluations
from ptspec.run.merge_stage import StageMerger, merged_record
from ptspec.run.needs import Needs
from ptspec.run.slim import slim
from ptspec.run.stage_words import describe_adapter, handover_of, reference_of
from ptspec.run.train_stage import StageTrainer
from ptspec.store.files import write_json
from ptspec.store.manifest import now
from ptspec.store.stage_folder import FORMAT, RECORD
from ptspec.training.job import Trained
from ptspec.training.stop_request import StopRequest


class StageWork:
    """Runs jobs of `stages` one after another over models that are loaded once."""

    def __init__(
        self,
        plan: Plan,
        stages: tuple[Stage, ...],
        evaluations: Evaluations,
        device: Device,
        listener: Listener,
        stop_request: StopRequest,
        *,
        allow_code: bool,
    ) -> None:
        self.plan, self.evaluations, self.hashes = plan, evaluations, evaluations.hashes
        self.bases = Bases(plan.model, device, lambda text: listener(Warned(text)))
        needs = Needs(plan, stages)
        self.trainer = StageTrainer(
            plan, self.bases, needs, self.hashes, device, listener, allow_code, stop_request
        )
        self.merger = StageMerger(plan, self.bases, needs, listener)
        self.evaluator = StageEvaluator(
            plan, self.bases, needs, evaluations, listener, self.trainer.open_reward_model_of, allow_code
        )

    def do(self, job: StageJob) -> None:
        """Make the folder of `job`. Raises what training and evaluation raise."""
        stage = self.plan.stage(job.stage)
        self.hashes.adopt(job.hashed)
        for made in job.measured:
            self.evaluations.adopt(made.name, made.folder)
        if job.trains and stage is not None and stage.merge is not None:
            current().by_first(lambda: self._merge(stage, job))
        elif job.trains and stage is not None:
            trained, distance = self.trainer.make(stage, job.folder, job.reason)
            current().by_first(lambda: _record_trained(stage, job, trained, distance))
        if self.plan.evaluation is not None:
            self.evaluator.evaluate(stage, job.folder)
        current().gathered(None)  # rank 0's last writes are visible to all

    def _merge(self, stage: Stage, job: StageJob) -> None:
        merged = self.merger.make(stage, job.folder)
        write_json(
            job.folder / RECORD, _about(stage, job) | merged_record(stage, merged) | {"finished": now()}
        )


def device_of_stages(listener: Listener) -> Device:
    """Return this process's device for training.

    `listener` receives a warning if it is not a GPU of a machine that has one. Raises as `training_device`.
    """
    device = training_device()
    if device.is_cpu and has_accelerator():
        why = "is built without" if torch.version.cuda is None and torch.version.hip is None else "cannot use"
        listener(Warned(f"torch {torch.__version__} {why} the GPU of this machine: stages train on the CPU"))
    return device


def _record_trained(stage: Stage, job: StageJob, trained: Trained, saved_distance: float) -> None:
    write_json(job.folder / RECORD, _record(stage, job, trained, saved_distance))
    forget_decision(job.folder)
    # From here on the record marks the stage as trained: no checkpoint is needed to resume.
    slim(stage, job.folder)


def _about(stage: Stage, job: StageJob) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "stage": stage.name,
        "method": stage.method.name,
        "parent": stage.parent,
        "handover": handover_of(stage),
        "reference": reference_of(stage),
        "adapter": describe_adapter(stage.adapter, trains=stage.trains),
        "fingerprint": job.fingerprint,
        "ingredients": job.covered,
    }


def _record(stage: Stage, job: StageJob, trained: Trained, saved_distance: float) -> dict[str, Any]:
    decision = read_decision(job.folder)
    return {
        **_about(stage, job),
        "config": trained.config,
        "performance": None if decision is None else as_json(decision),
        "steps": trained.steps,
        "best": None if trained.best is None else asdict(trained.best),
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
