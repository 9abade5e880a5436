"""`--fresh`: all is trained anew, of a matrix too; what is in the way is set aside, and its size said."""

import json
import os
import shutil
import signal

import pytest
from support.small import WEIGHTS, run_here, write_recipe

from ptspec.diagnostics import Exit
from ptspec.events import StageEvaluated, StagePicked, StageReused, StageStarted, StageStep, Warned
from ptspec.recipe.hints import bytes_in_words
from ptspec.run.options import Options
from ptspec.store.files import folder_size

pytestmark = pytest.mark.slow

STAGES = ("sft", "dpo.1", "dpo.2", "dpo")


def betas(*values):
    """SFT, then a matrix of two values of DPO, of which one is handed on."""

    def change(recipe):
        recipe["data"]["train"]["limit"], recipe["data"]["heldout"]["limit"] = 16, 4
        recipe["eval"] = {"data": "heldout", "max_new_tokens": 4, "samples": 2, "sampled": 0}
        for stage in recipe["stages"]:
            stage["config"] |= {"max_steps": 3, "save_steps": 1}
        recipe["stages"][1] |= {"matrix": {"beta": list(values)}, "pick": {"metric": "loss"}}

    return change


def one_value(recipe):
    betas()(recipe)
    del recipe["stages"][1]["matrix"], recipe["stages"][1]["pick"]
    recipe["stages"][1]["config"]["beta"] = 0.1


def go(folder, change, hear=None, **options):
    return run_here(write_recipe(folder, change), folder / "out", hear, Options(allow_code=True, **options))


def of(ran, kind):
    return [event.stage for event in ran.events if isinstance(event, kind)]


def stopping_in(stage):
    def hear(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == (stage, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    return hear


def files(folder):
    """Every file below `folder`, by its path."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_kept(before, aside):
    """Whether all that was in a folder stands in the one that was set aside."""
    return before and before.items() <= files(aside).items()


def aside(ran):
    """Folder that was set aside -> what was said of it."""
    told = [(e.text, e.text.partition(" is set aside in ")[2]) for e in ran.events if isinstance(e, Warned)]
    return {where.split()[0].rpartition("/")[2]: text for text, where in told if where}


def says_its_size(folder, text):
    return f"({bytes_in_words(folder_size(folder))}; rm -r " in text


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tried")
    assert of(go(folder, betas(0.5, 0.1)), StageStarted) == ["sft", "dpo.1", "dpo.2"]
    return folder


@pytest.fixture
def run(tried, tmp_path):
    shutil.copytree(tried, tmp_path / "run")
    return tmp_path / "run"


def test_all_of_a_finished_matrix_is_trained_anew_and_the_run_before_stays_whole(run, here):
    output = run / "out"
    before = {name: files(output / name) for name in STAGES}
    planned = here("run", run / "recipe.json", "--output", output, "--fresh", "--dry-run")
    assert planned.stdout.count("asked for with --fresh") == 3
    assert "dpo.1, dpo.2 to come" in planned.stdout, planned.stdout
    ran = go(run, betas(0.5, 0.1), fresh=True)
    assert of(ran, StageStarted) == ["sft", "dpo.1", "dpo.2"] and of(ran, StageReused) == []
    assert of(ran, StagePicked) == ["dpo"]
    measured = [e.stage for e in ran.events if isinstance(e, StageEvaluated) and not e.reused]
    assert measured == ["sft", "dpo.1", "dpo.2"], "of the base nothing is trained"
    told = aside(ran)
    assert told.keys() == {f"{name}.set-aside-1" for name in STAGES}
    for name in STAGES:
        folder = output / f"{name}.set-aside-1"
        assert is_kept(before[name], folder), name
        assert told[folder.name].startswith("what was finished before is set aside in ")
        assert says_its_size(folder, told[folder.name])
    assert {name: (output / name / WEIGHTS).read_bytes() for name in STAGES} == ran.weights
    assert here("verify", output).code == 0
    # What is there now is gone on with, under whatever number, and not what was set aside.
    finished = json.loads((output / "dpo.1" / "stage.json").read_text())["finished"]
    again = go(run, betas(0.1, 0.5))
    assert again.error is None and of(again, StageStarted) == [] and aside(again) == {}
    assert json.loads((output / "dpo.2" / "stage.json").read_text())["finished"] == finished
    assert is_kept(before["dpo.1"], output / "dpo.1.set-aside-1")


def test_what_is_half_made_is_set_aside_whatever_settings_it_is_of(tmp_path, tried):
    """A stage of before the matrix, a variant of other settings, and one of these."""
    output = tmp_path / "out"
    assert go(tmp_path, one_value).error is None
    assert go(tmp_path, betas(0.5, 0.3), stopping_in("dpo.2")).error.exit is Exit.INTERRUPTED
    before = {name: files(output / name) for name in ("sft", "dpo.1", "dpo", ".dpo.2.partial")}
    ran = go(tmp_path, betas(0.5, 0.1), stopping_in("dpo.2"), fresh=True)
    assert ran.error.exit is Exit.INTERRUPTED and of(ran, StageStarted) == ["sft", "dpo.1", "dpo.2"]
    told = aside(ran)
    assert told.keys() == {"sft.set-aside-1", "dpo.1.set-aside-1", "dpo.2.set-aside-1"}
    assert is_kept(before[".dpo.2.partial"], output / "dpo.2.set-aside-1")
    assert says_its_size(output / "dpo.2.set-aside-1", told["dpo.2.set-aside-1"])
    assert told["dpo.2.set-aside-1"].endswith(": beta 0.3 → 0.1")
    # Once more: of what that run has half made nothing is gone on with, and nothing is lost.
    half = files(output / ".dpo.2.partial")
    ran = go(tmp_path, betas(0.5, 0.1), fresh=True)
    assert ran.error is None and ran.resumed == {"sft": 0, "dpo.1": 0, "dpo.2": 0}
    told = aside(ran)
    assert told["dpo.2.set-aside-2"].endswith(": asked for with --fresh")
    assert is_kept(half, output / "dpo.2.set-aside-2")
    assert told.keys() == {"sft.set-aside-2", "dpo.1.set-aside-2", "dpo.2.set-aside-2", "dpo.set-aside-1"}
    assert told["dpo.set-aside-1"].startswith("what was finished ")
    for name in ("sft", "dpo.1", "dpo"):
        assert is_kept(before[name], output / f"{name}.set-aside-1"), name
    expected = {name: (tried / "out" / name / WEIGHTS).read_bytes() for name in STAGES}
    assert ran.weights == expected, "and it comes to what a first run comes to"


def test_a_fresh_run_that_is_stopped_names_the_command_that_goes_on(run, here):
    told = here("run", run / "recipe.json", "--output", run / "out", "--fresh", "--max-time", "1s")
    assert told.code == Exit.INTERRUPTED
    named = [line.strip() for line in told.stderr.splitlines() if line.strip().startswith("pt run ")]
    assert named and all("--fresh" not in line and "--max-time" in line for line in named)
    assert "without --fresh, which starts anew each time" in told.stderr
