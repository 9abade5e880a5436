"""What goes to another process comes back as it was: plans, events, errors."""

import json
from dataclasses import replace

import pytest
from support.small import ROOT

from ptspec import events
from ptspec.diagnostics import (
    CheckError,
    Diagnostic,
    InputError,
    Interrupted,
    Location,
    PtError,
    Severity,
    StageError,
)
from ptspec.events import Event, Figure
from ptspec.launch.job import Made, StageJob, read_job, write_job
from ptspec.launch.protocol import Done, Failed, Happened, Stop, error_of, failed, line, read
from ptspec.recipe.plan import HubModel, Plan
from ptspec.recipe.resolve import load_plan
from ptspec.store.content_hashes import Hashed
from ptspec.store.typed_json import from_json, to_json

RECIPES = sorted((ROOT / "recipes").glob("*.json"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_plan_of_every_shipped_recipe(recipe):
    plan = load_plan(recipe)
    assert from_json(Plan, json.loads(json.dumps(to_json(plan)))) == plan


def test_a_model_on_the_hub_keeps_its_folder(tmp_path):
    plan = load_plan(RECIPES[0])
    plan = replace(plan, model=replace(plan.model, local=False, path="some/model", hub=HubModel(tmp_path)))
    found = from_json(Plan, json.loads(json.dumps(to_json(plan))))
    assert found == plan and found.model.folder == tmp_path


def test_a_job_is_a_file(tmp_path):
    job = StageJob(
        plan=load_plan(RECIPES[0]),
        stage="sft",
        folder=tmp_path / ".sft.partial",
        trains=True,
        allow_code=False,
        hashed=Hashed("abc", (["model.safetensors", 3, 4],), {"train": ["abc", {"limit": None}]}),
        fingerprint="f",
        covered={"config": {"beta": 0.1}, "adapter": [True, False, {}, {}]},
        reason="beta 0.1 → 0.2",
        measured=(Made("base", tmp_path / "base"),),
    )
    write_job(job, tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == job


COMPARED = events.StageComparison(
    "base", 160, 4, "Holm", {"loss": events.MetricChange(Figure(-0.5, -1.0, None), "better")}
)
EVENTS = {
    events.Preparing: events.Preparing("loading"),
    events.StageTuned: events.StageTuned("s", "1 row a pass × 8", ({"fields": {"bf16": False}},)),
    events.StageDefault: events.StageDefault("s", "adam_beta1 0.0 (TRL: 0.9): why"),
    events.RunStarted: events.RunStarted(
        "n", "m", None, "LoRA r8", "cpu", "out", (events.StageLine("s", "sft", None, None, None),), "run.log"
    ),
    events.StageStarted: events.StageStarted("s", "sft", None, None, "x, frozen", 3, 4, 1, "changed"),
    events.StageChecked: events.StageChecked("s", "agree"),
    events.StageStep: events.StageStep("s", 1, 2, 0.5, {"loss": float("inf"), "epoch": 1}),
    events.StageMerged: events.StageMerged("s", "0.9 × a + 0.1 × b", 0.5),
    events.StepEvaluated: events.StepEvaluated("s", 2, 4, "eval_loss", {"eval_loss": 1.5}),
    events.BestStep: events.BestStep("s", 2, "eval_loss", 1.5, 4, patience=1, stopped=True),
    events.StageTrained: events.StageTrained("s", 2, 0.5, {"loss": 1.5}),
    events.StageReused: events.StageReused("s", "now"),
    events.StagePicked: events.StagePicked("s", "s.2", {"metric": "loss", "combinations": [{"value": 0.5}]}),
    events.EvaluationStarted: events.EvaluationStarted("s", 3),
    events.EvaluationProgress: events.EvaluationProgress("s", "answers", 1, 3),
    events.StageEvaluated: events.StageEvaluated(
        "s",
        {"loss": Figure(1.0, None, 2.0)},
        0.5,
        comparison=COMPARED,
        preference_over="base",
        accuracy="choice_letter: all 160 right answers are single letters",
    ),
    events.StageFinished: events.StageFinished("s", "out/s"),
    events.CheckEvaluated: events.CheckEvaluated(
        None, "", True, "stop", (events.CheckedBound("loss", 1.0, "≤", 2.0, True, "base", 1.5, 0.95),)
    ),
    events.Warned: events.Warned("ü", None),
    events.RunFinished: events.RunFinished("out", 1.0, ("s",)),
    events.RunStopped: events.RunStopped("bug", "ü", asked=False),
}


@pytest.mark.parametrize("kind", Event.__args__, ids=lambda kind: kind.__name__)
def test_every_event(kind):
    text = line(Happened(EVENTS[kind]))
    assert text.count(b"\n") == 1
    assert read(text) == Happened(EVENTS[kind])


def test_a_share_stays_one():
    """Figures are equal without it, so that the test above does not see it."""
    event = events.StageEvaluated("s", {"style": Figure(0.5, is_share=True)}, 0.5)
    assert read(line(Happened(event))).event.metrics["style"].is_share


@pytest.mark.parametrize("kind", [StageError, InputError, CheckError, Interrupted])
def test_every_error(kind):
    place = Location("recipe.json", 3, 4, 5, "the line")
    told = Diagnostic("code", "what", place, "/stages/0", "do this", ("a note",), Severity.WARNING)
    found = read(line(failed(kind(told, replace(told, location=None)))))
    error = error_of(found)
    assert isinstance(found, Failed) and type(error) is kind and isinstance(error, PtError)
    assert error.diagnostics == (told, replace(told, location=None))


def test_the_other_messages():
    assert [read(line(message)) for message in (Done(), Stop("SIGINT"))] == [Done(), Stop("SIGINT")]


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"null", b'{"kind": "_Line", "message": {"kind": "Gone"}}', b"\xff"]
)
def test_what_is_no_message(text):
    with pytest.raises(ValueError):
        read(text)


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"format": 2, "job": {}}', '{"format": 1, "job": {"kind": "StageJob"}}', "{"]
)
def test_what_is_no_job(tmp_path, text):
    file = tmp_path / "job.json"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        read_job(file)
    assert raised.value.diagnostics[0].code == "damaged-file"
