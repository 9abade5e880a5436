"""A run that is not there is told with those that are; a hub id is not taken for a misspelt folder."""

import pytest

from ptspec.store.run_names import is_of_hub, no_such_run, runs_in, those_in


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "manifest.json").write_text("{}")
    (tmp_path / "outputs" / "other").mkdir()
    (tmp_path / "outputs" / "first" / "sft").mkdir()
    (tmp_path / "outputs" / "first" / "sft" / "stage.json").write_text("{}")
    (tmp_path / "outputs" / "first" / ".dpo.partial").mkdir()
    (tmp_path / "outputs" / "first" / ".dpo.partial" / "stage.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("outputs/nope", False),
        ("output/nope", False),
        ("outptus/nope", False),
        ("out/nope", False),
        ("mine/nope", True),
        ("gpt2", False),
        ("outputs/first/sft", False),
        ("./x/y", False),
    ],
)
def test_what_can_be_a_model_of_the_hub(here, text, is_one):
    assert is_of_hub(text) is is_one


def test_without_a_folder_of_that_name_it_may_be_an_owner(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_of_hub("output/nope") and is_of_hub("outputs/nope")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "outputs/frist",
            'there is no run "outputs/frist"',
            "did you mean outputs/first? runs in outputs: first, second",
        ),
        ("outputs/xyz", 'there is no run "outputs/xyz"', "runs in outputs: first, second"),
        ("first", 'there is no run "first"', "did you mean outputs/first? runs in outputs: first, second"),
        (
            "outputs/first/sfft",
            'the run outputs/first has no stage "sfft"',
            "did you mean outputs/first/sft? stages in outputs/first: sft",
        ),
        ("outputs/second/sft", 'the run outputs/second has no stage "sft"', "outputs/second has no stages"),
        ("outputs/other/x", 'there is no run "outputs/other/x"', "outputs/other has no runs"),
        ("nowhere/xyz", 'there is no run "nowhere/xyz"', "runs in outputs: first, second"),
    ],
)
def test_a_run_that_is_not_there_is_told_with_those_that_are(here, text, message, hint):
    told = no_such_run(text)
    assert (told.code, told.message, told.hint) == ("no-such-run", message, hint)
    assert str(told.location.file) == text


def test_before_the_first_run_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert no_such_run("outputs/x").hint == "no run was made here yet: pt run RECIPE"
    assert runs_in(tmp_path / "outputs") == [] and those_in(tmp_path) is None


def test_a_folder_of_runs_is_told_by_them(here):
    assert those_in(here / "outputs") == "it holds runs: first, second"
