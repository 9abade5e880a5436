"""What a text of the recipe names: a path, a hub id, or a path that is misspelt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.small import ROOT

from ptspec.recipe.paths import Places, from_home, is_folder
from ptspec.recipe.resolve import read_recipe

LONG = "a" * 300


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("base_model", "org", "recipes/near_recipe"):
        Path(name).mkdir(parents=True)
    Path("rows.jsonl").write_text("")
    return Places(tmp_path, tmp_path / "recipes")


@pytest.mark.parametrize(
    ("text", "is_hub"),
    [
        ("gpt2", True),
        ("owner/name", True),
        ("base_modle", False),
        ("basemodel", False),
        ("near_recipy", False),
        ("org/name", False),
        ("orgs/name", True),
        ("rows", True),
        ("owner/base_modle", True),
        (f"{LONG}/b", True),
        ("~nosuchuser/x", False),
        ("a/b/c", False),
    ],
)
def test_hub_ids(places, text, is_hub):
    assert places.hub_id(text) is is_hub


def test_a_misspelt_folder_is_proposed(places):
    model = {"model": "base_modle", "data": {"t": {"path": "rows.jsonl"}}}
    stages = [{"name": "sft", "method": "sft", "data": "t"}]
    Path("r.json").write_text(json.dumps({**model, "stages": stages}))
    (fault,) = read_recipe(Path("r.json")).errors
    assert (fault.code, fault.hint) == ("no-such-model", 'did you mean "base_model"?')


def test_a_home_that_is_no_ones_is_a_path_that_is_not_there(places):
    assert from_home("~nosuchuser/x") == Path("~nosuchuser/x")
    assert from_home("~/x") == Path.home() / "x"
    assert places.find("~nosuchuser/x") is None
    assert places.looked("~nosuchuser/x") == (
        "looked for ~nosuchuser/x",
        "looked for recipes/~nosuchuser/x",
    )
    assert not is_folder(Path(LONG))


TEXTS = ("~nosuchuser/x", LONG, f"{LONG}/b", "a\0/b", "", ".", "..", "**/**", "[", f"{LONG}.jsonl")
FIELDS = (
    ("model", "path"),
    ("model", "chat_template"),
    ("data", "t", "path"),
    ("rewards", "r", "model"),
    ("stages", 0, "from"),
    ("eval", "lm_eval", "include_path"),
)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: ".".join(map(str, field)))
def test_no_path_of_a_recipe_breaks_the_reading(places, field, text):
    recipe = {
        "model": {"path": str(ROOT / "data" / "base_model")},
        "data": {"t": {"path": "rows.jsonl"}},
        "rewards": {"r": {}},
        "stages": [{"name": "sft", "method": "sft", "data": "t"}],
        "eval": {"data": "t", "lm_eval": {"tasks": ["x"]}},
    }
    node = recipe
    for step in field[:-1]:
        node = node[step]
    node[field[-1]] = text
    Path("r.json").write_text(json.dumps(recipe))
    assert read_recipe(Path("r.json")).document is not None
