"""A stage's matrix, run: what came before is trained once, each variant once, and the best is handed on."""

import copy
import json
import os
import shutil
import signal

import pytest
from support.small import RECIPE, run_here, start_run, wait_until_it_trains

from ptspec.diagnostics import Exit
from ptspec.events import CheckEvaluated, StageEvaluated, StagePicked, StageReused, StageStarted, Warned
from ptspec.run import pick_stage
from ptspec.run.options import Options

pytestmark = pytest.mark.slow

WEIGHTS = "adapter_model.safetensors"
BETAS = {"beta": [0.5, 0.1]}
BY_LOSS = {"metric": "loss"}


def recipe_of(matrix=None, pick=None, later=None, **of_stage):
    """SFT, then DPO of a few steps with this matrix; `later`: a stage behind it."""
    recipe = copy.deepcopy(RECIPE)
    recipe["data"]["train"]["limit"], recipe["data"]["heldout"]["limit"] = 32, 8
    recipe["eval"] = {"data": "heldout", "max_new_tokens": 4, "samples": 2, "sampled": 0}
    for stage in recipe["stages"]:
        stage["config"].update(max_steps=2, save_steps=1)
    dpo = recipe["stages"][1]
    dpo["config"]["beta"] = 0.1
    if later is not None:
        recipe["stages"].append({**copy.deepcopy(dpo), "name": "last", **later})
    if matrix is not None:
        dpo["matrix"] = matrix
        dpo["config"].pop("beta") if "beta" in matrix else None
    if pick is not None:
        dpo["pick"] = pick
    dpo.update(of_stage)
    return recipe


def go(folder, recipe, hear=None, **options):
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2))
    return run_here(folder / "recipe.json", folder / "out", hear, Options(allow_code=True, **options))


def trained(ran):
    return [event.stage for event in ran.events if isinstance(event, StageStarted)]


def picked(ran):
    assert ran.error is None, ran.error.diagnostics
    return [(event.stage, event.variant) for event in ran.events if isinstance(event, StagePicked)]


def weights(folder, *names):
    return [(folder / "out" / name / WEIGHTS).read_bytes() for name in names]


def rows(folder, name):
    return (folder / "out" / name / "evaluation_rows.jsonl").read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A finished run without a matrix; tests copy it."""
    folder = tmp_path_factory.mktemp("plain")
    assert trained(go(folder, recipe_of())) == ["sft", "dpo"]
    return folder


@pytest.fixture(scope="module")
def tried(plain, tmp_path_factory):
    """The same with a matrix of which the DPO of that run is the second variant."""
    folder = tmp_path_factory.mktemp("tried") / "run"
    shutil.copytree(plain, folder)
    ran = go(folder, recipe_of(BETAS, BY_LOSS))
    assert trained(ran) == ["dpo.1"]
    told = [event.text for event in ran.events if isinstance(event, Warned)]
    assert "what lay in dpo is dpo.2 now: nothing else of it has changed" in told
    assert len(picked(ran)) == 1
    return folder


@pytest.fixture
def run(tried, tmp_path):
    shutil.copytree(tried, tmp_path / "run")
    return tmp_path / "run"


def record(folder, name):
    return json.loads((folder / "out" / name / "stage.json").read_text())


def test_a_variant_learns_what_the_stage_alone_would_and_what_is_handed_on_is_one_of_them(plain, tried):
    assert weights(tried, "sft", "dpo.2") == weights(plain, "sft", "dpo")
    assert record(tried, "dpo.2")["fingerprint"] == record(plain, "dpo")["fingerprint"]
    took = record(tried, "dpo")["picked"]["variant"]
    other = {"dpo.1": "dpo.2", "dpo.2": "dpo.1"}[took]
    assert weights(tried, "dpo") == weights(tried, took) != weights(tried, other)
    assert (record(tried, "dpo")["fingerprint"], record(tried, "dpo")["stage"]) == (
        *(record(tried, took)["fingerprint"], "dpo"),
    )
    losses = {}
    for name in ("dpo.1", "dpo.2", "dpo"):
        stats = json.loads((tried / "out" / name / "evaluation_stats.json").read_text())
        assert stats["name"] == name
        losses[name] = stats["metrics"]["loss"]["value"]
    assert losses["dpo"] == losses[took] == min(losses.values())
    assert rows(tried, "dpo") == rows(tried, took)


def test_all_of_it_is_reported_and_kept_in_files(tried, here):
    found = json.loads((tried / "out" / "dpo" / "comparison.json").read_text())
    assert found["names"] == ["sft", "dpo"], "the comparison with its parent stands beside it"
    assert [one["name"] for one in found["variants"]["variants"]] == ["dpo.1", "dpo.2"]
    assert found["variants"]["tests"] <= 1 and found["variants"]["metric"] == "loss"
    assert found["variants"]["distinguishable_from_next_best"] in (True, False)
    assert here("report", tried / "out").code == 0
    page = (tried / "out" / "report.html").read_text()
    assert 'id="variants"' in page and "of 2 variants" in page and "distinguishable from" in page
    assert here("verify", tried / "out").code == 0
    told = here("eval", tried / "out" / "dpo.2")
    assert told.code == 0 and told.stdout.startswith("dpo.2")
    plan = here("plan", tried / "recipe.json", "--output", tried / "out")
    assert plan.stdout.count("= reused (unchanged)") == 4
    assert "takes over the best loss of 2; = reused (unchanged)" in plan.stdout


def test_once_more_nothing_is_done(run):
    before = {path: path.stat().st_mtime_ns for path in (run / "out").glob("*/*.json")}
    ran = go(run, recipe_of(BETAS, BY_LOSS))
    assert trained(ran) == [] and len(picked(ran)) == 1
    assert {e.stage for e in ran.events if isinstance(e, StageReused)} == {"sft", "dpo.1", "dpo.2", "dpo"}
    assert all(event.reused for event in ran.events if isinstance(event, StageEvaluated))
    assert {path: path.stat().st_mtime_ns for path in (run / "out").glob("*/*.json")} == before


def test_a_value_that_is_added_is_trained_alone_and_the_choice_made_anew(run, here):
    before = weights(run, "dpo.1", "dpo.2")
    told = recipe_of({"beta": [0.3, 0.5, 0.1]}, BY_LOSS)
    (run / "recipe.json").write_text(json.dumps(told))
    plan = here("plan", run / "recipe.json", "--output", run / "out", "--format", "json")
    stages = {one["stage"]: one for one in json.loads(plan.stdout)["stages"]}
    states = {name: one["state"] for name, one in stages.items()}
    assert {name: states[name] for name in ("dpo.2", "dpo.3")} == {"dpo.2": "reused", "dpo.3": "reused"}
    assert stages["dpo.2"]["reason"] == "finished as dpo.1" and stages["dpo"]["reason"] == "dpo.1 to come"
    ran = go(run, told)
    assert trained(ran) == ["dpo.1"] and len(picked(ran)) == 1
    assert weights(run, "dpo.2", "dpo.3") == before
    measured_again = [e.stage for e in ran.events if isinstance(e, StageEvaluated) and not e.reused]
    assert measured_again == ["dpo.1"], "what has another number is not measured again"
    for name in ("dpo.2", "dpo.3"):
        stats = json.loads((run / "out" / name / "evaluation_stats.json").read_text())
        assert stats["name"] == name == record(run, name)["stage"]
    assert here("verify", run / "out").code == 0
    # And taken away again.
    assert trained(go(run, recipe_of(BETAS, BY_LOSS))) == []
    assert weights(run, "dpo.1", "dpo.2") == before


def test_the_chosen_value_in_place_of_the_matrix_trains_nothing(run):
    took = record(run, "dpo")["picked"]["variant"]
    recipe = recipe_of()
    recipe["stages"][1]["config"]["beta"] = {"dpo.1": 0.5, "dpo.2": 0.1}[took]
    ran = go(run, recipe)
    assert trained(ran) == [] and ran.error is None


def test_where_none_keeps_the_checks_it_is_said_by_how_much_and_nothing_is_handed_on(run):
    asked = {"metric": "loss", "keep": {"perplexity": {"max": 0.5}}}
    ran = go(run, recipe_of(BETAS, asked, later={}))
    assert ran.error.exit == 3 and trained(ran) == []
    (told,) = ran.error.diagnostics
    assert told.code == "none-kept" and told.pointer == "/stages/1/pick"
    assert told.notes[0].startswith("dpo.1: perplexity ") and "≤ 0.5, missed by " in told.notes[1]
    (check,) = (event for event in ran.events if isinstance(event, CheckEvaluated))
    assert (check.stage, check.held) == ("dpo", False)
    asked["keep"]["perplexity"]["max"] = 1e6
    ran = go(run, recipe_of(BETAS, asked))
    assert trained(ran) == [] and len(picked(ran)) == 1, "other bounds train nothing"
    asked["keep"]["perplexity"]["max"] = 0.5
    assert len(picked(go(run, recipe_of(BETAS, asked), ignore_checks=True))) == 1


def test_later_stages_go_on_from_what_is_picked_and_are_trained_again_only_where_that_changes(run):
    took = record(run, "dpo")["picked"]["variant"]
    other = {"dpo.1": "dpo.2", "dpo.2": "dpo.1"}[took]
    assert trained(go(run, recipe_of(BETAS, BY_LOSS, later={}))) == ["last"]
    assert record(run, "last")["parent"] == "dpo"
    assert record(run, "last")["ingredients"]["parent"] == record(run, took)["fingerprint"]
    assert record(run, "last")["checks"]["policy_to_handed_over"] == 0, "the probes of the variant hold"
    keep = {"accuracy": {"max": 1.0}}
    ran = go(run, recipe_of(BETAS, BY_LOSS | {"keep": keep}, later={}))
    assert picked(ran) == [("dpo", took)] and trained(ran) == []
    # The other one, by what the first does not keep.
    loss = {
        name: json.loads((run / "out" / name / "evaluation_stats.json").read_text())["metrics"]["loss"]
        for name in (took, other)
    }
    between = (loss[took]["value"] + loss[other]["value"]) / 2
    ran = go(run, recipe_of(BETAS, BY_LOSS | {"keep": {"loss": {"min": between}}}, later={}))
    assert picked(ran) == [("dpo", other)] and trained(ran) == ["last"]
    assert weights(run, "dpo") == weights(run, other)
    assert not list((run / "out").glob("dpo.set-aside-*")), "a second name of a variant is no loss"


def test_a_variant_is_named_by_later_stages_and_a_matrix_without_a_pick_hands_nothing_on(run):
    ran = go(run, recipe_of(BETAS, later={"from": "dpo.1"}), until="dpo")
    assert ran.error is None and trained(ran) == []
    ran = go(run, recipe_of(BETAS, later={"from": "dpo.1"}))
    assert trained(ran) == ["last"] and picked(ran) == []
    assert record(run, "last")["parent"] == "dpo.1"


def test_seeds_are_of_training_alone_and_the_first_of_the_best_is_handed_on(run):
    ran = go(run, recipe_of({"beta": [0.1], "seed": [7, 8]}, BY_LOSS))
    assert trained(ran) == ["dpo.2"], "7 is the recipe's seed"
    assert picked(ran) == [("dpo", "dpo.1")]
    assert len({*weights(run, "dpo.1", "dpo.2")}) == 2
    assert record(run, "dpo.2")["ingredients"]["seed"] == "8, rows 7"
    found = json.loads((run / "out" / "dpo" / "comparison.json").read_text())["variants"]
    assert found["combinations"][0]["spread"] > 0 and found["rows"] == 8


def test_killed_in_a_variant_and_in_the_taking_over_it_comes_to_the_same_bytes(tried, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    folder.mkdir()
    recipe = recipe_of(BETAS, BY_LOSS)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2))
    process = start_run(folder / "recipe.json", folder / "out")
    wait_until_it_trains(folder / "out", "dpo.2", process)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    def cut_off(source, partial, *_):
        whole(source, partial, *_)
        (partial / WEIGHTS).unlink()
        raise KeyboardInterrupt

    whole = pick_stage.take_over
    with monkeypatch.context() as patched:
        patched.setattr(pick_stage, "take_over", cut_off)
        assert go(folder, recipe).error.exit is Exit.INTERRUPTED
    ran = go(folder, recipe)
    assert ran.error is None and trained(ran) == []
    names = ("sft", "dpo.1", "dpo.2", "dpo")
    assert weights(folder, *names) == weights(tried, *names)
    assert [rows(folder, name) for name in names] == [rows(tried, name) for name in names]
    assert sorted(path.name for path in (folder / "out").glob(".*.partial")) == []
