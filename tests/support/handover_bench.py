"""Stages trained one after the other on the shipped base, without a recipe."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ptspec import methods
from ptspec.data.dataset import load
from ptspec.methods.types import Rows, Yields
from ptspec.model import probes
from ptspec.model.device import find_device
from ptspec.model.handover import prepare
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import AdapterSpec, Stage, TrackingSpec
from ptspec.recipe.sources import Source
from ptspec.rewards.builtin import builtin
from ptspec.rewards.models import open_reward_model
from ptspec.store.stage_folder import open_artifact
from ptspec.training.job import Job, Signals
from ptspec.training.start_checks import check_saved
from ptspec.training.stop_request import StopRequest
from ptspec.training.tracking import Watched
from ptspec.training.train import train
from support.small import ROOT

LORA = AdapterSpec(True, lora={"r": 8, "lora_alpha": 16, "target_modules": "all-linear"})


OTHER = AdapterSpec(True, lora={"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]})


FULL = AdapterSpec(False)


SOURCE = {"train": Source("train", (ROOT / "data/train.jsonl",), limit=32)}


CONFIGS = {
    "dpo": {"beta": 0.5},
    "kto": {"beta": 0.5},
    "grpo": {"beta": 0.5, "num_generations": 4, "max_completion_length": 8},
    "rloo": {"beta": 0.5, "num_generations": 4, "max_completion_length": 8},
    "nash_md": {"beta": 0.5, "num_generations": 4, "max_completion_length": 8},
}


@dataclass(frozen=True)
class Bench:
    """Stages trained one after the other on the shipped base, as the interpreter does it."""

    folder: Path
    bases: Bases
    precision: str | None = None
    rows: int = 32
    distances: dict[str, float] = field(default_factory=dict)
    """Of each stage, what was saved to what was trained."""

    def stage(self, name, method, adapter, hand_over=None, parent=None, **config):
        rows = methods.get(method).rows
        stage = Stage(
            name=name,
            method=methods.get(method),
            parent=parent.name if parent else "base",
            handover=hand_over,
            data="train",
            adapter=adapter,
            config={
                "per_device_train_batch_size": 8,
                "max_steps": 2,
                "weight_decay": 0.1,
                "learning_rate": 0.0,
                **CONFIGS.get(method, {}),
                **config,
            },
        )
        base = self.bases.get(adapter, parent)
        dataset = load({"train": replace(SOURCE["train"], limit=self.rows)}, "train", rows, seed=1)
        job = Job(
            stage=stage,
            base=base,
            policy=prepare(base, parent, stage, seed=1),
            dataset=dataset,
            folder=self.folder / name,
            device=find_device(),
            precision=self.precision,
            watched=Watched(TrackingSpec(), "x", name, self.folder),
            seed=1,
            reference=None,
            reason=None,
            handed_over=self.handed_over(adapter, parent, dataset),
            signals=Signals((builtin("length", {"max": 4}),), (1.0,))
            if rows is Rows.PROMPT_ONLY
            else Signals(),
        )
        trained = train(job, lambda event: None, StopRequest())
        artifact = open_artifact(job.folder)
        self.distances[name] = check_saved(stage, self.opened(stage, artifact), trained.probes)
        return artifact, trained

    def opened(self, stage, artifact):
        if stage.method.yields is Yields.REWARD_MODEL:
            base = self.bases.get(stage.adapter)
            return open_reward_model(
                str(artifact.folder), find_device(), at=stage.at, below=lambda path: base
            ).model
        return self.bases.open(stage.adapter, artifact)[0]

    def handed_over(self, adapter, parent, dataset):
        if parent is not None and (left := probes.load(parent.folder)):
            return left
        model, base = self.bases.open(adapter, parent)
        return probes.measure(model, probes.sequences(base.tokenizer, dataset))

    def logits(self, adapter, artifact):
        model, _ = self.bases.open(adapter, artifact)
        ids = torch.arange(10, 40, device=model.device).reshape(2, 15)
        with torch.no_grad():
            return model(ids).logits.float()

    def metrics(self, name):
        return [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()]


def quantised(adapter):
    return replace(adapter, use_qlora=True)
