"""Which files a text of the recipe names."""

from __future__ import annotations

import pytest

from ptspec.recipe.paths import Kind, Places


@pytest.fixture
def places(tmp_path):
    for name in (
        "a.jsonl",
        "b.csv.gz",
        "notes.md",
        ".hidden.jsonl",
        "config.json",
        "dataset_info.json",
        "state.json",
    ):
        (tmp_path / name).write_text("")
    return Places(tmp_path, tmp_path)


def names(places, text) -> list[str]:
    return [path.name for path in places.expanded(text).files]


def test_a_folder_stands_for_its_files_with_rows(places):
    assert names(places, ".") == ["a.jsonl", "b.csv.gz"]
    assert names(places, "*.json*") == ["a.jsonl"]
    assert names(places, ".*.jsonl") == [".hidden.jsonl"]


def test_a_file_named_by_itself_is_taken_whatever_it_is(places):
    assert names(places, "config.json") == ["config.json"]
    assert names(places, "notes.md") == ["notes.md"]


def test_state_json_describes_rows_only_where_datasets_saved_them(places):
    (places.working / "dataset_info.json").unlink()
    assert "state.json" in names(places, ".")


def test_a_folder_without_rows_is_there(places):
    (places.working / "empty").mkdir()
    assert places.is_there("empty") and not places.is_there("emtpy")
    assert places.expanded("empty").kind is Kind.FOLDER


def test_the_folder_of_a_user_that_is_not_there_is_not_there(places):
    assert places.find("~no-such-user-here/x") is None
    assert not places.is_there("~no-such-user-here/x.jsonl")
