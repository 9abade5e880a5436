"""Names that become paths stay in the run's folder, whatever somebody calls a stage, a recipe or a policy."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.small import ROOT

from ptspec import cli
from ptspec.diagnostics import InputError
from ptspec.evaluation.request import folder_names
from ptspec.recipe.names import WINDOWS_DEVICES
from ptspec.recipe.resolve import read_recipe
from ptspec.run.output_folder import make_output_folder
from ptspec.store.stage_folder import partial_folder, publish, recover

NAMES = st.one_of(
    st.text(min_size=1, max_size=80),
    st.sampled_from(["..", ".", "/etc", "a/b", "a\\b", "~", "a\n", "a\0b", "con", "NUL", "lpt1", "SFT"]),
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,80}", fullmatch=True),
)


def recipe(folder: Path, *names: str, **changes) -> Path:
    stages = [{"name": name, "method": "sft", "data": "train"} for name in names]
    value = {
        "model": str(ROOT / "data" / "base_model"),
        "adapter": {"use_lora": True},
        "data": {"train": {"path": str(ROOT / "data" / "train.jsonl")}},
        "stages": stages,
        **changes,
    }
    (folder / "recipe.json").write_text(json.dumps(value))
    return folder / "recipe.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("names")


def is_one_step(path: Path, below: Path) -> bool:
    return path.parent == below and Path(os.path.normpath(path)) == path and path.name not in ("", ".", "..")


@given(NAMES, NAMES)
@example("x" * 65, "y")
def test_a_stage_and_a_run_are_folders_one_step_below(folder, stage, name):
    plan = read_recipe(recipe(folder, stage, name=name)).plan
    if plan is None:
        return
    assert is_one_step(plan.output, Path.cwd() / "outputs")
    for path in (plan.output / stage, partial_folder(plan.output, stage)):
        assert is_one_step(path, plan.output)
    for text in (stage, name):
        assert text == text.lower()  # No two names differ by case alone.
        assert text not in WINDOWS_DEVICES
        assert len(text.encode()) <= 64


@given(NAMES)
def test_a_recipes_file_gives_a_name_that_can_be_a_folder(folder, stem):
    path = recipe(folder, "sft").with_name("other.json")
    try:
        path = path.with_name(f"{stem}.json")
        path.write_text((folder / "recipe.json").read_text())
    except (OSError, ValueError):
        return
    plan = read_recipe(path).plan
    assert plan is not None
    assert is_one_step(plan.output, Path.cwd() / "outputs")
    assert plan.name.isascii()
    assert plan.name not in WINDOWS_DEVICES


@given(st.lists(NAMES, max_size=6))
def test_policies_get_folders_of_their_own(names):
    made = folder_names(names)
    assert len({name.lower() for name in made}) == len(names)
    assert all(is_one_step(Path("out") / name, Path("out")) for name in made)


@pytest.fixture
def plan(tmp_path):
    reading = read_recipe(recipe(tmp_path, "sft", "dpo"), output=tmp_path / "out")
    assert reading.plan is not None
    return reading.plan


def refused(plan) -> list[str]:
    with pytest.raises(InputError) as caught:
        make_output_folder(plan)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def test_the_output_folder_itself_may_be_a_link(plan, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    plan.output.symlink_to(tmp_path / "elsewhere")
    make_output_folder(plan)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["sft", ".dpo.partial", "base", "events.jsonl", "run.log", ".lock"])
def test_what_a_run_writes_may_be_no_link(plan, tmp_path, name):
    plan.output.mkdir()
    elsewhere = tmp_path / "elsewhere"
    (plan.output / name).symlink_to(elsewhere)
    assert refused(plan) == ["link-in-run"]
    assert not elsewhere.exists()


def test_a_stage_takes_no_place_of_somebody_elses_folder(plan):
    (plan.output / "sft").mkdir(parents=True)
    make_output_folder(plan)
    (plan.output / "sft" / "thesis.tex").write_text("years of work")
    (plan.output / "dpo").write_text("a file")
    assert refused(plan) == ["folder-in-use", "folder-in-use"]
    (plan.output / "sft" / "stage.json").write_text("{}")
    (plan.output / "dpo").unlink()
    make_output_folder(plan)


@pytest.mark.parametrize("output", ["x" * 300, "file", "file/below", "a\0b"])
def test_a_folder_that_cannot_be_made(plan, tmp_path, output):
    (tmp_path / "file").write_text("")
    assert refused(replace(plan, output=tmp_path / output)) == ["not-writable"]


def test_a_link_left_aside_is_removed_and_what_it_leads_to_is_not(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / ".sft.old").symlink_to(tmp_path / "mine")
    (tmp_path / "sft").mkdir()
    (tmp_path / "new").mkdir()
    recover(tmp_path / "sft")
    (tmp_path / ".sft.old").symlink_to(tmp_path / "mine")
    publish(tmp_path / "new", tmp_path / "sft")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "sft"]


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", LONG],
        ["validate", f"{LONG}.json"],
        ["verify", LONG],
        ["report", LONG],
        ["eval", LONG],
        ["eval", "data/base_model", "--data", LONG],
        ["eval", "data/base_model", "--data", "data/eval.jsonl", "--output", LONG],
        ["export", "data/base_model", LONG],
        ["run", "recipes/sft.json", "--output", LONG],
        ["plan", "recipes/sft.json", "-o", LONG],
        ["init", "-o", LONG],
        ["schema", "--output", LONG],
    ],
)
def test_a_path_that_is_too_long_is_reported(arguments, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2, told
    assert "error[bug]" not in told
    assert "error[" in told
