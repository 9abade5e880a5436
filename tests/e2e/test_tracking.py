"""What trackers are told is what metrics.jsonl holds: read back from their own files, offline."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest
from support.small import ROOT, pt, pt_loaded, run_small

pytestmark = pytest.mark.slow
SECRET = "s3cret-of-a-tracker"


def tracked(*trackers: str):
    def change(recipe) -> None:
        recipe["tracking"] = {"report_to": list(trackers), "project": "trials"}
        recipe["data"]["train"]["limit"] = 24
        del recipe["eval"]
        for stage in recipe["stages"]:
            stage["config"] |= {"max_steps": 3, "save_strategy": "steps", "save_steps": 2}

    return change


def logged(run, stage: str) -> dict[tuple[str, int], float]:
    """(metric, step) → value of every step in metrics.jsonl."""
    steps = run.metrics(stage)
    assert len(steps) == 3
    return {
        (name, entry["step"]): value
        for entry in steps
        for name, value in entry.items()
        if name not in ("step", "epoch") and isinstance(value, int | float)
    }


def in_events(folder: Path) -> dict[tuple[str, int], list[float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    found: dict[tuple[str, int], list[float]] = {}
    for tag in read.Tags()["scalars"]:
        for event in read.Scalars(tag):
            found.setdefault((tag.removeprefix("train/"), event.step), []).append(event.value)
    return found


@pytest.fixture
def secrets(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "TRACKIO_WRITE_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)


def test_tensorboard_is_reported_what_the_metrics_hold(tmp_path, secrets):
    pytest.importorskip("tensorboard")
    run = run_small(tmp_path, tracked("tensorboard"))
    assert run.done.code == 0, run.done.stderr
    for stage in ("sft", "dpo"):
        told = in_events(run.output / "tensorboard.logs" / stage)
        for (name, step), value in logged(run, stage).items():
            assert told[name, step] == [pytest.approx(value, rel=1e-6)], (name, step)
    assert not [path for path in run.output.rglob("events.out*") if "tensorboard.logs" not in str(path)]
    assert secret_files(run.output) == []


def secret_files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


def test_a_resumed_stage_is_reported_once_and_a_new_one_anew(tmp_path, secrets):
    """Steps that a dead process told beyond its checkpoint are taken back."""
    pytest.importorskip("tensorboard")
    import torch

    from ptspec.recipe.plan import TrackingSpec
    from ptspec.training.tracking import Watched, _writer

    events = Watched(TrackingSpec(("tensorboard",)), "run", "sft", tmp_path).events
    for resumed_from, steps in ((None, (1, 2, 3)), (2, (3, 4))):
        writer = _writer(events, resumed_from)
        for step in steps:
            writer.add_scalar("loss", torch.tensor(float(10 * (resumed_from or 0) + step)), step)
        writer.close()
    assert in_events(events) == {("loss", 1): [1], ("loss", 2): [2], ("loss", 3): [23], ("loss", 4): [24]}
    writer = _writer(events, None)
    writer.add_scalar("loss", 7.0, 1)
    writer.close()
    assert in_events(events) == {("loss", 1): [7]}


def test_trackio_is_reported_what_the_metrics_hold_by_run_and_stage(tmp_path, secrets):
    pytest.importorskip("trackio", reason="trackio is not installed: pip install ptspec[test] has it")
    run = run_small(tmp_path, tracked("trackio"), pt)  # which reads its variables when it is imported
    assert run.done.code == 0, run.done.stderr
    (database,) = (tmp_path / "trackio").glob("trials*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, metrics FROM metrics").fetchall()
        configs = dict(connection.execute("SELECT run_name, config FROM configs").fetchall())
    told = {
        (stage.removeprefix("small/"), name.removeprefix("train/"), metrics["train/global_step"]): value
        for stage, metrics in ((stage, json.loads(metrics)) for stage, metrics in rows)
        for name, value in metrics.items()
    }
    for stage in ("sft", "dpo"):
        for (name, step), value in logged(run, stage).items():
            assert told[stage, name, step] == pytest.approx(value), (stage, name, step)
        assert json.loads(configs[f"small/{stage}"])["_Group"] == "small"
    assert secret_files(tmp_path) == []


def test_mlflow_has_the_stages_below_their_run(tmp_path, secrets, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed, and no test extra has it")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = run_small(tmp_path, tracked("mlflow"))
    assert run.done.code == 0, run.done.stderr
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("trials").experiment_id
    runs = {found.info.run_name: found for found in client.search_runs([experiment])}
    assert set(runs) == {"small", "small/sft", "small/dpo"}
    for stage in ("sft", "dpo"):
        child = runs[f"small/{stage}"]
        assert child.data.tags["mlflow.parentRunId"] == runs["small"].info.run_id
        for (name, step), value in logged(run, stage).items():
            told = {entry.step: entry.value for entry in client.get_metric_history(child.info.run_id, name)}
            assert told[step] == pytest.approx(value)


def test_a_tracker_that_is_not_installed_is_a_fault_before_anything_starts(tmp_path):
    run = run_small(tmp_path, tracked("neptune", "tensorboard"))
    assert run.done.code == 2
    assert 'error[not-here]: "neptune" needs the package neptune' in run.done.stderr
    assert "pip install neptune" in run.done.stderr
    assert "tensorboard" not in run.done.stderr.replace('"tensorboard"]', "")
    assert not run.output.exists()
    checked = pt_loaded("validate", run.recipe)  # the run may be elsewhere
    assert checked.code == 0
    assert "warning[not-here]" in checked.stderr


def test_the_names_are_those_of_transformers():
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    from ptspec.checks.machine import PACKAGES

    schema = json.loads((ROOT / "schemas/recipe.schema.json").read_text())
    known = set(schema["$defs"]["tracker"]["enum"]) - {"all", "none"}
    assert known == set(PACKAGES)
    assert known <= set(INTEGRATION_TO_CALLBACK)


def test_what_trackers_read_from_the_environment_is_there_while_a_stage_trains(tmp_path, monkeypatch):
    from ptspec.recipe.plan import TrackingSpec
    from ptspec.training.tracking import Watched, _variables, tracked

    watched = Watched(TrackingSpec(("comet_ml",), "p"), "run", "sft", tmp_path)
    assert watched.name == "run/sft"
    monkeypatch.delenv("COMET_PROJECT_NAME", raising=False)
    with tracked(watched):
        assert os.environ["COMET_PROJECT_NAME"] == "p"
    assert "COMET_PROJECT_NAME" not in os.environ
    monkeypatch.setenv("COMET_PROJECT_NAME", "mine")
    with tracked(watched):
        assert os.environ["COMET_PROJECT_NAME"] == "mine"
    assert os.environ["COMET_PROJECT_NAME"] == "mine"
    assert _variables(watched, ("wandb", "mlflow")) == {
        "WANDB_PROJECT": "p",
        "MLFLOW_EXPERIMENT_NAME": "p",
        "WANDB_RUN_GROUP": "run",
        "WANDB_JOB_TYPE": "sft",
    }
