"""A plan in a file is run as it is or refused with what has changed; no other file is written over."""

import json
from dataclasses import replace

import pytest
from support.small import ROOT

from ptspec import __version__
from ptspec.diagnostics import InputError
from ptspec.recipe.resolve import load_plan
from ptspec.store.reuse import reuses
from ptspec.store.saved_plan import keep, must_be_unchanged, open_plan


@pytest.fixture
def plan(tmp_path):
    return replace(load_plan(ROOT / "recipes/sft_dpo.json"), output=tmp_path / "out")


@pytest.fixture
def kept(plan, tmp_path):
    file = tmp_path / "plan.json"
    keep(plan, reuses(plan), ("seed=3",), file)
    return file


def refusal(call, *arguments):
    with pytest.raises(InputError) as raised:
        call(*arguments)
    (told,) = raised.value.diagnostics
    return told


def test_a_plan_is_read_as_it_was_written(plan, kept):
    value = json.loads(kept.read_text())
    assert (value["kind"], value["format"], value["ptspec"]) == ("ptspec plan", 1, __version__)
    assert value["written"].endswith("+00:00"), "in UTC"
    found = open_plan(kept)
    assert (found.file, found.recipe_file, found.output) == (kept, plan.recipe, plan.output)
    assert found.overrides == ("seed=3",) and found.document == json.loads(json.dumps(plan.document))
    assert found.stages.keys() == {"sft", "dpo"}
    must_be_unchanged(found, plan)


def test_a_plan_replaces_a_plan_and_nothing_else(plan, kept, tmp_path):
    keep(plan, reuses(plan), (), kept)
    assert open_plan(kept).overrides == ()
    other = tmp_path / "notes.json"
    other.write_text('{"kind": "notes"}')
    told = refusal(keep, plan, {}, (), other)
    assert (told.code, told.message) == ("file-exists", "exists and is not a plan")
    assert (told.location.file, told.hint) == (str(other), "choose another name: -o FILE")
    assert other.read_text() == '{"kind": "notes"}'


def test_a_place_that_cannot_be_written_is_told(plan, tmp_path):
    told = refusal(keep, plan, {}, (), tmp_path / "nowhere" / "plan.json")
    assert (told.code, told.message) == ("not-writable", "cannot be written: No such file or directory")
    assert told.location.file == str(tmp_path / "nowhere" / "plan.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "notes"}', "{}"])
def test_another_file_is_no_plan(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    assert open_plan(tmp_path / "x.json") is None


@pytest.mark.parametrize("part", ["recipe_file", "overrides", "output", "recipe", "stages"])
def test_a_plan_that_lacks_a_part_is_told(kept, part):
    value = json.loads(kept.read_text())
    kept.write_text(json.dumps({key: item for key, item in value.items() if key != part}))
    told = refusal(open_plan, kept)
    assert (told.code, told.message) == ("damaged-file", "this plan lacks parts")
    assert (told.location.file, told.hint) == (str(kept), "make it anew: pt plan RECIPE -o FILE")


def test_what_has_changed_is_told_by_stage(plan, kept):
    dpo = plan.stages[1]
    other = replace(dpo, config={**dpo.config, "beta": 0.9})
    more = replace(dpo, name="more", parent="sft")
    told = refusal(must_be_unchanged, open_plan(kept), replace(plan, stages=(other, more)))
    assert told.code == "plan-outdated" and told.location.file == str(kept)
    assert told.message == "what this plan was made of has changed since"
    assert told.hint == f"look at it again, pt plan {plan.recipe}, and run the recipe or keep the new plan"
    assert told.notes[0] == "sft: no longer in the recipe" and told.notes[-1] == "more: not in the plan"
    assert any(note.startswith("dpo: ") and "beta 0.5 → 0.9" in note for note in told.notes)


def test_what_no_stage_depends_on_is_told_by_its_key(plan, kept):
    document = {**plan.document, "tracking": {"report_to": ["tensorboard"]}, "description": "other"}
    told = refusal(must_be_unchanged, open_plan(kept), replace(plan, document=document))
    assert told.notes == ("tracking: changed",)
