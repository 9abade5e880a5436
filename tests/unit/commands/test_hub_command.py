"""What a user sees of the hub: a last line, objects for other programs, an end without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.hub_server import PAIR, Hub, Repo

RECIPE = {
    "version": 1,
    "model": "someone/tiny",
    "adapter": {"use_lora": True},
    "data": {"a": {"path": "someone/a"}, "b": {"path": "someone/b", "split": "trian"}},
    "stages": [
        {"name": name, "method": "dpo", "data": data, "config": {"learning_rate": 2e-5}}
        for name, data in (("one", "a"), ("two", "b"))
    ],
}
LAST = "not looked at: the hub (offline: HF_HUB_OFFLINE): someone/tiny, someone/a, someone/b"


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE, indent=1))
    return path


def run(*arguments, home, **environment):
    """`pt` in a process of its own; its exit code and what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CUDA"))}
    done = subprocess.run(
        [sys.executable, "-m", "ptspec.cli", *map(str, arguments)],
        env={**kept, "CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_last_line_names_what_was_not_looked_at(here, recipe):
    done = here("validate", recipe)
    assert (done.code, done.stderr.splitlines()[-1]) == (0, LAST)


def test_of_several_recipes_it_is_reported_once(here, recipe):
    assert here("validate", recipe, recipe).stderr.count("not looked at") == 1


def test_plan_names_it_too(here, recipe):
    assert LAST in here("plan", recipe).stderr.splitlines()


def test_other_programs_get_a_note_for_each(here, recipe):
    notes = [json.loads(line) for line in here("validate", recipe, "--format", "json").stdout.splitlines()]
    assert [(note["severity"], note["code"], note["pointer"], note["line"]) for note in notes] == [
        ("note", "not-looked-at", "/model", 3),
        ("note", "not-looked-at", "/data/a/path", 9),
        ("note", "not-looked-at", "/data/b/path", 12),
    ]
    first = here("validate", recipe, "--format", "github").stdout.splitlines()[0]
    assert first.startswith("::notice title=not-looked-at,file=")


def test_a_typo_in_the_data_of_a_later_stage_is_reported_before_anything_is_loaded(recipe, tmp_path):
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "*.jsonl"}]}]}
    rows = Repo({"rows.jsonl": (json.dumps(PAIR) + "\n").encode()}, card=card)
    with Hub(datasets={"someone/a": rows, "someone/b": rows}) as hub:
        code, said = run("run", recipe, home=tmp_path, HF_ENDPOINT=hub.address)
    assert code == 2
    assert 'error[not-on-hub]: the hub has no model "someone/tiny"' in said
    assert 'error[unknown-split]: "someone/b" has no split "trian"' in said
    assert "someone/a" not in said, "the hub answered, and it is sound"
    assert all("someone/" in line or line.endswith(" /") for line in hub.asked), "nothing else is asked"


def test_a_run_without_a_network_ends_in_our_words_and_tries_nothing_again(recipe, tmp_path):
    code, said = run("run", recipe, home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 2, said
    assert 'error[hub-unreachable]: the model "someone/tiny" is not in the local cache' in said
    assert said.splitlines()[-1].startswith("not looked at: the hub (no network): someone/tiny")
    assert "Retrying" not in said
    assert not (tmp_path / "outputs").exists()
