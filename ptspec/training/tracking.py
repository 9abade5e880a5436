"""Configure trackers (TensorBoard, Weights & Biases, trackio, MLflow, …) with run and stage.

transformers' own callbacks do the logging. Each reads its settings from another place (arguments,
environment, the call that starts a run); here each gets the recipe's name as group and `recipe/stage` as run.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.integrations import TensorBoardCallback, TrackioCallback
from transformers.integrations.integration_utils import get_available_reporting_integrations

from ptspec.processes import current
from ptspec.recipe.paths import from_home
from ptspec.recipe.plan import TrackingSpec

EVENTS = "tensorboard.logs"
"""Folder of TensorBoard's files in a run's folder; not a possible stage name."""
EVENT_FILES = "events.out.tfevents.*"
PARENT_TAG = "mlflow.parentRunId"
FOLDER_TAG = "ptspec.run"


@dataclass(frozen=True)
class Watched:
    """A stage as a tracker sees it: the stage of `run`, whose folder is `output`."""

    spec: TrackingSpec
    run: str
    stage: str
    output: Path

    @property
    def name(self) -> str:
        """The tracker's name of the stage's run."""
        return f"{self.run}/{self.stage}"

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers in use, "all" resolved to the installed ones."""
        if "all" in self.spec.report_to:
            return tuple(get_available_reporting_integrations())
        return self.spec.report_to

    @property
    def events(self) -> Path:
        """The folder of this stage's TensorBoard files."""
        elsewhere = os.environ.get("TENSORBOARD_LOGGING_DIR")
        return from_home(elsewhere) / self.name if elsewhere else self.output / EVENTS / self.stage


@contextlib.contextmanager
def tracked(watched: Watched) -> Iterator[None]:
    """Set the trackers' environment variables within the context. Variables set by the user are kept."""
    if not current().is_first:  # rank 0 reports to them
        yield
        return
    trackers = watched.trackers
    given = {name: text for name, text in _variables(watched, trackers).items() if name not in os.environ}
    if "mlflow" in trackers:
        given["MLFLOW_TAGS"] = _mlflow_tags(watched)
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, text in before.items():
            os.environ.pop(name)
            if text is not None:
                os.environ[name] = text
        if "wandb" in trackers:
            # wandb keeps one run per process: the next stage would continue in it.
            import wandb

            wandb.finish()


def _variables(watched: Watched, trackers: tuple[str, ...]) -> Mapping[str, str]:
    variables = {}
    if watched.spec.project is not None:
        names = (project for tracker, project in PROJECTS.items() if tracker in trackers)
        variables = dict.fromkeys(names, watched.spec.project)
    if "wandb" in trackers:
        variables |= {"WANDB_RUN_GROUP": watched.run, "WANDB_JOB_TYPE": watched.stage}
    return variables


PROJECTS = {
    "wandb": "WANDB_PROJECT",
    "mlflow": "MLFLOW_EXPERIMENT_NAME",
    "comet_ml": "COMET_PROJECT_NAME",
    "clearml": "CLEARML_PROJECT",
    "swanlab": "SWANLAB_PROJECT",
}
"""Tracker -> the environment variable with the project's name; trackio has an argument instead."""


def settle(trainer: Any, watched: Watched, resumed_from: int | None) -> None:
    """Configure TensorBoard and trackio, which use neither arguments nor environment variables.

    `resumed_from`: the step of the checkpoint that training resumes from. Later logs of the killed process
    are removed; a new stage starts a new log.
    """
    if not trainer.is_world_process_zero():
        return
    if "tensorboard" in watched.trackers:
        trainer.remove_callback(TensorBoardCallback)
        trainer.add_callback(TensorBoardCallback(_writer(watched.events, resumed_from)))
    if "trackio" in watched.trackers:
        trainer.remove_callback(TrackioCallback)
        trainer.add_callback(_Trackio(watched.run, "never" if resumed_from is None else "allow"))


def _writer(folder: Path, resumed_from: int | None) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    if resumed_from is None:
        for file in folder.glob(EVENT_FILES):
            file.unlink()
        return SummaryWriter(str(folder))
    return SummaryWriter(str(folder), purge_step=resumed_from + 1)


class _Trackio(TrackioCallback):  # type: ignore[misc]  # the library is untyped
    """The callback with a group, for which it has no argument."""

    def __init__(self, group: str, resume: str) -> None:
        super().__init__()
        import trackio

        self._trackio = _Grouped(trackio, group=group, resume=resume)


class _Grouped:
    """The trackio module with fixed options for new runs."""

    def __init__(self, module: Any, **always: str) -> None:
        self._module = module
        self._always = always

    def init(self, **options: Any) -> Any:
        return self._module.init(**options | self._always)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _mlflow_tags(watched: Watched) -> str:
    """Return the user's tags, and the parent run of all stages of this run folder."""
    given = json.loads(os.environ.get("MLFLOW_TAGS") or "{}")
    return json.dumps({PARENT_TAG: _mlflow_parent(watched), **given})


def _mlflow_parent(watched: Watched) -> str:
    import mlflow

    client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI"))
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or watched.spec.project or "Default"
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    folder = str(watched.output.resolve())
    found = client.search_runs([number], f"tags.`{FOLDER_TAG}` = '{folder}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    parent = client.create_run(number, run_name=watched.run, tags={FOLDER_TAG: folder})
    client.set_terminated(parent.info.run_id)
    return str(parent.info.run_id)
