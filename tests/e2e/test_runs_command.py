"""`pt runs` lists the runs with how each ended; one that is not there is named beside those that are."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.small import pt, rewarded_by, run_here, start_run, wait_until_it_trains, write_recipe

from ptspec.events import RunStarted
from ptspec.report.view.listed_run import RunState, listed_run


def listed(folder: Path) -> list[dict]:
    done = pt("runs", "--format", "json", cwd=folder)
    assert done.code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with a run that was finished, one that failed, and one that was stopped as it began."""

    def stop(event):
        if isinstance(event, RunStarted):
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path_factory.mktemp("runs")
    (folder / "outputs").mkdir()
    run_here(write_recipe(folder), folder / "outputs" / "good")
    reward = folder / "broken.py"
    reward.write_text("def reward(completions, **columns):\n    return 1 / 0\n")
    assert run_here(write_recipe(folder, rewarded_by(reward)), folder / "outputs" / "broken").error
    assert run_here(write_recipe(folder), folder / "outputs" / "stopped", stop).error
    return folder


def test_they_are_listed_with_how_they_ended(outputs):
    by_name = {run["name"]: run for run in listed(outputs)}
    good, broken, stopped = (by_name[name] for name in ("good", "broken", "stopped"))
    assert (good["name"], good["state"], good["stages"], good["at"]) == (
        "good",
        "finished",
        ["sft", "dpo"],
        None,
    )
    assert good["headline"].startswith("accuracy ") and good["bytes"] > 1_000_000
    assert (broken["state"], broken["at"], broken["why"]) == ("failed", "grpo", "failing-reward")
    assert (stopped["state"], stopped["headline"]) == ("interrupted", "")


def test_as_text(outputs):
    done = pt("runs", cwd=outputs)
    assert (done.code, done.stderr) == (0, "")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["stopped", "broken", "good"], "the newest first, of one second too"
    assert "failed at grpo (failing-reward)" in done.stdout
    assert pt("runs", "outputs/good", cwd=outputs).stdout.startswith("good ")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("chat", "outputs/goood"), "did you mean outputs/good? runs in outputs: broken, good, stopped"),
        (("eval", "outputs/goood"), "did you mean outputs/good?"),
        (("eval", "good"), "did you mean outputs/good?"),
        (("export", "output/good", "x"), "did you mean outputs/good?"),
        (("push", "outputs/goood", "me/x"), "did you mean outputs/good?"),
        (("report", "outputs/goood"), "did you mean outputs/good?"),
        (("verify", "outputs/goood"), "did you mean outputs/good?"),
        (("eval", "outputs/good/dppo"), "did you mean outputs/good/dpo? stages in outputs/good: dpo, sft"),
        (("runs", "output"), "no-such-run"),
    ],
    ids=" ".join,
)
def test_one_that_is_not_there(here, outputs, monkeypatch, command, told):
    monkeypatch.chdir(outputs)
    done = here(*command)
    assert (done.code, "error[no-such-run]" in done.stderr, told in done.stderr) == (2, True, True), (
        done.stderr
    )


@pytest.mark.parametrize("command", [("chat", "outputs/nope"), ("export", "outputs/nope", "x")], ids=" ".join)
def test_that_is_reported_before_torch_is_imported(outputs, command):
    before = os.times().children_user
    assert "no-such-run" in pt(*command, cwd=outputs).stderr
    assert os.times().children_user - before < 3


@pytest.mark.parametrize("command", ["chat", "eval", "report", "verify"])
def test_the_folder_of_the_runs_is_none_itself(here, outputs, monkeypatch, command):
    monkeypatch.chdir(outputs)
    done = here(command, "outputs")
    assert (done.code, "it holds runs: broken, good, stopped" in done.stderr) == (2, True), done.stderr


def test_nothing_there(tmp_path):
    done = pt("runs", cwd=tmp_path)
    assert (done.code, done.stdout) == (0, "")
    assert "pt run RECIPE makes one" in done.stderr


def test_a_run_that_goes_on_and_one_that_was_killed(tmp_path):
    recipe = write_recipe(tmp_path, lambda recipe: recipe["stages"][0]["config"].update(max_steps=400))
    output = tmp_path / "out"
    process = start_run(recipe, output)
    try:
        wait_until_it_trains(output, "sft", process)
        found = listed_run(output)
        assert (found.state, found.at) == (RunState.RUNNING, "sft")
        assert found.writer is not None and found.writer.pid == process.pid
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    found = listed_run(output)
    assert (found.state, found.at, found.writer) == (RunState.CUT_OFF, "sft", None)


def test_a_damaged_log(tmp_path):
    (tmp_path / "events.jsonl").write_text('{"event": "RunStarted", "stages": 3}\n{"event": "StageEv')
    found = listed_run(tmp_path)
    assert (found.state, found.stages, found.headline) == (RunState.CUT_OFF, (), "")
