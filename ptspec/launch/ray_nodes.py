"""What the nodes of a cluster must share with the controller: folders, files, versions, variables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ptspec import __version__
from ptspec.diagnostics import Diagnostic, StageError
from ptspec.launch.child import kept, pointer_of
from ptspec.launch.job import StageJob
from ptspec.launch.ray_placement import Placed
from ptspec.recipe.sources import Source
from ptspec.store.fingerprint import versions

PASSED_ON = ("HF_", "WANDB_", "MLFLOW_", "COMET_", "NEPTUNE_", "CLEARML_", "TRACKIO_", "PT_")
"""Prefixes of environment variables passed to workers, besides keys that the recipe names."""


def paths_of(job: StageJob) -> list[str]:
    """Return the paths each node must have: the working directory, the model, and the data files."""
    plan = job.plan
    stage = plan.stage(job.stage)
    names = {stage.data, stage.eval_data} if stage is not None else set()
    names |= {plan.evaluation.data} if plan.evaluation is not None else set()
    sources = [source for source in plan.data.values() if isinstance(source, Source) and source.name in names]
    files = [str(Path(path).absolute()) for source in sources for path in source.paths]
    model = [str(Path(plan.model.path).absolute())] if plan.model.local else []
    return [str(Path.cwd()), *model, *files]


def must_be_alike(job: StageJob, workers: Sequence[Placed]) -> None:
    """Raise `StageError` if a node lacks the controller's paths or has other library versions."""
    ours = {"ptspec": __version__, **versions()}
    for worker in workers:
        told = _unshared(job, worker) or _unlike(worker, ours)
        if told is not None:
            raise StageError(replace(told, pointer=pointer_of(job), notes=(kept(job),)))


def _unshared(job: StageJob, worker: Placed) -> Diagnostic | None:
    seen = worker.seen
    if not seen.is_shared:
        folder = job.plan.output.absolute()
        message = f"{worker.where} does not see {folder}, which this process writes to"
        hint = (
            "mount one folder (NFS, Lustre, EFS, …) under the same path on every node, and name it: --output"
        )
        return Diagnostic("not-shared", message, hint=hint)
    if seen.missing:
        message = f"{worker.where} has no {seen.missing[0]}"
        return Diagnostic("not-shared", message, hint="the same path has to be there on every node")
    return None


def _unlike(worker: Placed, ours: dict[str, str]) -> Diagnostic | None:
    theirs = worker.seen.versions
    other = [
        f"{name} {theirs.get(name)}, not {ours[name]}" for name in ours if theirs.get(name) != ours[name]
    ]
    if not other:
        return None
    message = f"{worker.where} has other versions than this process: {', '.join(other)}"
    return Diagnostic("not-alike", message, hint="a stage depends on them: install the same everywhere")


def passed_on(job: StageJob) -> dict[str, str]:
    """Return the environment variables that workers get from this process."""
    document = json.dumps(job.plan.document)
    return {
        name: text
        for name, text in os.environ.items()
        if name.startswith(PASSED_ON) or (name.endswith("KEY") and f'"{name}"' in document)
    }
