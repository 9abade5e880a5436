"""Recipes of published pipelines: valid as they are; what each stage learns from, in the published formats.

`rows/` holds a few rows in the form of each data set. A recipe is read as it is, with the shipped base in the
place of its model and these files in the place of its data; `expected.json` says which, and what must come of
it (`chat_template`: the model's own, where the recipe gives none and the base's does not do). Offline: what
is on the hub is named as not looked at.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

from ptspec.checks.model import with_plain_text
from ptspec.checks.preflight import preflight
from ptspec.data.checks.row_checks import Use
from ptspec.data.chosen_rows import first_rows, sources_of
from ptspec.data.dataset import Loading, load, strings_in
from ptspec.data.encoded_rows import RowEncoder, StageRow
from ptspec.data.tokens.template import tokenizer_files
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.resolve import read_recipe
from ptspec.report.encoded_rows import as_json
from ptspec.rewards.build import no_model, reward_functions

ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / "data" / "base_model"
RECIPES = ROOT / "recipes" / "published"
HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())
NAMES = sorted(EXPECTED)
NEEDS_A_MACHINE = ("not-here",)
"""Warnings of what only the machine lacks: a GPU, wandb, …"""


def test_each_recipe_is_expected_and_told_of():
    assert sorted(path.stem for path in RECIPES.glob("*.json")) == NAMES
    table = (ROOT / "docs" / "published.md").read_text()
    assert [name for name in NAMES if f"published/{name}.json" not in table] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_and_what_could_not_be_looked_at_is_named(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(ROOT)
    path = RECIPES / f"{name}.json"
    reading = preflight(path)
    assert reading.errors == ()
    here = [told for told in reading.diagnostics if told.code not in NEEDS_A_MACHINE]
    unreached = {told.pointer for told in here}
    assert all(told.code == "unreadable-dataset" for told in here), here
    recipe = json.loads(path.read_text())
    assert recipe["name"] == name
    named = {one.name for one in reading.unchecked}
    for pointer, hub in _on_the_hub(recipe):
        assert hub in named or pointer in unreached


def _on_the_hub(recipe):
    """The models and data of a recipe: all of them are on the hub."""
    model = recipe["model"]
    yield "/model/path", model if isinstance(model, str) else model["path"]
    for name, source in recipe["data"].items():
        if "path" in source:
            yield f"/data/{name}/path", source["path"]
    for name, reward in recipe.get("rewards", {}).items():
        if "model" in reward:
            yield f"/rewards/{name}/model", reward["model"]


def _here(name, folder):
    """The recipe of `name` over local rows and the shipped base."""
    recipe = json.loads((RECIPES / f"{name}.json").read_text())
    model = {"path": recipe["model"]} if isinstance(recipe["model"], str) else recipe["model"]
    model = {**{key: EXPECTED[name][key] for key in ("chat_template",) if key in EXPECTED[name]}, **model}
    template = model.get("chat_template", "")
    if template.endswith(".jinja"):
        model["chat_template"] = str(RECIPES / template)
    kept = {key: value for key, value in model.items() if key in ("chat_template", "eos_token", "pad_token")}
    own = [kept[key] for key in ("eos_token", "pad_token") if key in kept]
    recipe["model"] = (
        {**kept, "path": str(BASE), "additional_special_tokens": own} if own else {**kept, "path": str(BASE)}
    )
    for source, rows in EXPECTED[name]["data"].items():
        given = {k: v for k, v in recipe["data"][source].items() if k not in ("name", "split", "revision")}
        recipe["data"][source] = {**given, "path": str(HERE / "rows" / f"{rows}.jsonl")}
    for reward in recipe.get("rewards", {}).values():
        if ":" in reward.get("function", ""):
            reward["function"] = str(RECIPES / reward["function"])
    (folder / "recipe.json").write_text(json.dumps(recipe))
    reading = read_recipe(folder / "recipe.json")
    assert reading.errors == ()
    return with_plain_text(reading.plan)


def _rows(plan, stage, most):
    """The first rows of a stage as its trainer gets them, and their sequences as `pt rows` shows them."""
    encoder = RowEncoder(plan, EffectiveConfig(stage, stage.compute, gpu=False), tokenizer_files(plan.model))
    rows = list(islice(encoder.rows(first_rows(sources_of(plan, stage), most)), most))
    assert all(isinstance(row, StageRow) for row in rows), rows
    return [(row, [json.loads(as_json(row, one)) for one in row.sequences]) for row in rows]


STAGES = [(name, stage) for name in NAMES for stage in EXPECTED[name]["stages"]]


@pytest.mark.parametrize(("name", "stage"), STAGES, ids=[f"{name}-{stage}" for name, stage in STAGES])
def test_what_a_stage_learns_from_is_what_was_published(name, stage, tmp_path):
    expected = EXPECTED[name]["stages"][stage]
    plan = _here(name, tmp_path)
    planned = plan.stage(stage)
    assert planned is not None
    (row, (first, *others)), *_ = _rows(plan, planned, 1)
    learned = "".join(first["learned"])
    for text in expected.get("once", []):
        assert first["text"].count(text) == 1, first["text"]
    for text in (*expected.get("text", []), *expected.get("generated", [])):
        assert text in first["text"], first["text"]
    for text in expected.get("absent", []):
        assert text not in first["text"], first["text"]
    for text in expected.get("learned", []):
        assert text in learned, first
    for text in expected.get("unlearned", []):
        assert text in first["text"] and text not in learned, first
    for text in expected.get("rejected", []):
        (second,) = others
        assert text in ("".join(second["learned"]) or second["text"]) and text not in first["text"], second
    assert row.label is expected.get("label")
    rows = load(
        plan.data, planned.data, planned.method.rows, plan.seed, Loading(Use(stage, planned.method.rows))
    )
    assert len(rows) == expected["count"]


PAID = [(name, stage) for name, stage in STAGES if "pays" in EXPECTED[name]["stages"][stage]]


@pytest.mark.parametrize(("name", "stage"), PAID, ids=[name for name, _ in PAID])
def test_what_its_rewards_pay(name, stage, tmp_path):
    if find_spec("math_verify") is None:
        pytest.skip("math-verify is not installed: pip install 'ptspec[math]'")
    plan = _here(name, tmp_path)
    planned = plan.stage(stage)
    rows = _rows(plan, planned, 9)
    strings = strings_in(plan.data[planned.data], plan.data)
    made = reward_functions(plan, planned.rewards, strings=strings, allow_code=True, open_model=no_model)
    for asked in EXPECTED[name]["stages"][stage]["pays"]:
        columns = {key: [value] for key, value in rows[asked["row"] - 1][0].columns.items()}
        answer = [[{"role": "assistant", "content": asked["completion"]}]]
        paid = {one.__name__: one(prompts=[[]], completions=answer, **columns)[0] for one in made}
        assert paid == asked["rewards"], asked
