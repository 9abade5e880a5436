"""A stage that another run in the same `outputs/` has finished: taken over, not trained again."""

import json

import pytest
from support.small import pt, pt_loaded, run_here, write_recipe

from ptspec.events import StageEvaluated, StageReused, StageStarted
from ptspec.run.options import Options

pytestmark = pytest.mark.slow


def full_below(recipe):
    """SFT of all weights, and an adapter on those."""
    recipe["stages"][0]["adapter"] = {"use_lora": False}
    for stage in recipe["stages"]:
        stage["config"]["max_steps"] = 2


def beta(recipe):
    full_below(recipe)
    recipe["name"] = "second"
    recipe["stages"][1]["config"]["beta"] = 0.2


def renamed(recipe):
    full_below(recipe)
    recipe["name"] = "third"
    recipe["stages"][0]["name"] = "warm_up"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taken") / "outputs"
    folder.mkdir()
    assert run(folder, "first", full_below).error is None
    return folder


def run(outputs, name, change, **options):
    folder = outputs.parent / name
    folder.mkdir(exist_ok=True)
    return run_here(write_recipe(folder, change), outputs / name, options=Options(**options))


def told(ran):
    """Stage -> where it was taken over from, or None where it was trained."""
    taken = {event.stage: event.taken_from for event in ran.events if isinstance(event, StageReused)}
    return taken | {event.stage: None for event in ran.events if isinstance(event, StageStarted)}


def test_what_another_run_has_finished_is_taken_over(outputs):
    before = {path: path.read_bytes() for path in (outputs / "first").rglob("*") if path.is_file()}
    recipe = write_recipe(outputs.parent, beta)
    planned = json.loads(pt("plan", recipe, "--output", outputs / "second", "--format", "json").stdout)
    assert [stage["state"] for stage in planned["stages"]] == ["taken over", "new"]
    ran = run(outputs, "second", beta)
    assert told(ran) == {"sft": str(outputs / "first/sft"), "dpo": None}
    evaluated = {event.stage: event.reused for event in ran.events if isinstance(event, StageEvaluated)}
    assert evaluated == {"base": False, "sft": True, "dpo": False}
    ours, theirs = (outputs / name / "sft" / "model.safetensors" for name in ("second", "first"))
    assert ours.samefile(theirs)
    assert all(path.read_bytes() == content for path, content in before.items())
    for name in ("first", "second"):
        assert pt("verify", outputs / name).code == 0
    record = json.loads((outputs / "second/sft/stage.json").read_text())
    assert record["taken_over"] == {"run": str(outputs / "first"), "stage": "sft"}


def test_an_adapter_stands_on_the_weights_of_its_own_run(outputs):
    ran = run(outputs, "third", renamed)
    assert told(ran) == {"warm_up": str(outputs / "first/sft"), "dpo": str(outputs / "first/dpo")}
    config = json.loads((outputs / "third/dpo/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(outputs / "third/warm_up")
    evaluated = {event.stage: event.reused for event in ran.events if isinstance(event, StageEvaluated)}
    assert not evaluated["dpo"], "its evaluation is relative to a policy of another name"
    said = pt_loaded("eval", outputs / "third/dpo", "--output", outputs.parent / "measured")
    assert said.code == 0, said.stderr


def test_what_is_not_as_it_was_saved_or_not_asked_for_is_trained(outputs):
    fresh = run(outputs, "fresh", full_below, fresh=True, until="sft")
    assert told(fresh) == {"sft": None}
    for name in ("first", "second", "third", "fresh"):
        for file in (outputs / name).glob("*/model.safetensors"):
            content = file.read_bytes()
            file.unlink()
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = run(outputs, "fifth", full_below, until="sft")
    assert told(damaged) == {"sft": None}


def test_runs_elsewhere_are_not_looked_at(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / f"{name}.in"
        folder.mkdir()

        def short(recipe):
            full_below(recipe)
            recipe.pop("eval")
            recipe["stages"] = recipe["stages"][:1]

        assert told(run_here(write_recipe(folder, short), tmp_path / name)) == {"sft": None}
