"""A stage's job as a file: everything a worker needs to make one stage's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.compute_rules import RAY
from ptspec.recipe.plan import ComputeSpec, Plan
from ptspec.store.content_hashes import Hashed
from ptspec.store.files import read_json, write_json
from ptspec.store.typed_json import from_json, to_json

FORMAT = 1


@dataclass(frozen=True)
class Made:
    """The stored evaluation of a policy: its name and its folder."""

    name: str
    folder: Path


@dataclass(frozen=True)
class StageJob:
    """Train a stage of `plan` in `folder` and evaluate it there, or evaluate only.

    `stage` is its name, "base" for the recipe's model. `fingerprint` and `covered` go into its record;
    `reason`: why it is trained again. `hashed`: the inputs' hashes at the start of the run. `measured`: the
    policies to compare with, in order.
    """

    plan: Plan
    stage: str
    folder: Path
    trains: bool
    allow_code: bool
    hashed: Hashed
    fingerprint: str = ""
    covered: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    measured: tuple[Made, ...] = ()

    @property
    def compute(self) -> ComputeSpec:
        """Where and how it runs; for a policy that no stage makes, the recipe's own `compute`."""
        stage = self.plan.stage(self.stage)
        return self.plan.compute if stage is None else stage.compute


def log_for(job: StageJob, log: Path) -> Path:
    """Return the log of `job` in a run whose log is `log`: the stage's own on a cluster."""
    if job.compute.launcher != RAY:
        return log
    return log.with_name(f"{log.stem}.{job.stage}{log.suffix}")


Launch = Callable[[StageJob], None]
"""Runs a job and returns when the folder is made. Raises a `PtError` like the work itself."""


def write_job(job: StageJob, file: Path) -> None:
    """Write the job to `file`, atomically."""
    write_json(file, _document(job))


def as_text(job: StageJob) -> str:
    """Return the text that `write_job` writes."""
    return json.dumps(_document(job))


def _document(job: StageJob) -> dict[str, Any]:
    return {"format": FORMAT, "job": to_json(job)}


def read_job(file: Path) -> StageJob:
    """Return the job in `file`. Raises `InputError` if it holds none, or one of another version."""
    value = read_json(file)
    try:
        if value.get("format") != FORMAT:
            raise ValueError(f"a job of format {value.get('format')!r}; this program knows {FORMAT}")
        return from_json(StageJob, value["job"])
    except (KeyError, TypeError, ValueError) as error:
        message = f"this is not a stage's job: {error}"
        hint = "jobs are written by pt run, for its own workers"
        raise InputError(Diagnostic("damaged-file", message, Location(str(file)), hint=hint)) from None
