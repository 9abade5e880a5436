"""`pt verify` hashes the files that a run read: those of the split alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptspec.recipe.paths import Places
from ptspec.recipe.resolve import load_plan
from ptspec.store.files import hash_files
from ptspec.store.verify import _source


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """What is told of the folder "rows" after it was read with `split`."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        file = tmp_path / "rows" / f"{split}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"prompt": split, "completion": "x"}) + "\n")

    def lines(split: str | None, *, changed: str | None = None, now: object = ...) -> list[str]:
        source = {"path": "rows"} | ({} if split is None else {"split": split})
        stages = [{"name": "sft", "method": "sft", "data": "train"}]
        recipe = {"model": "some/model", "data": {"train": source}, "stages": stages}
        Path("recipe.json").write_text(json.dumps(recipe))
        kept = hash_files(load_plan(Path("recipe.json")).data["train"].paths)
        if changed is not None:
            Path("rows", changed).write_text("{}\n")
        given = source if now is ... else source | {"split": now}
        return [line.text for line in _source("train", [kept, {}], given, Places(tmp_path, tmp_path))]

    return lines


@pytest.mark.parametrize("split", [None, "train", "train[:50%]", "test", "train+test"])
def test_a_source_that_has_not_changed_is_reported_so(lines, split):
    assert lines(split) == ["data train (rows): unchanged"]


def test_a_file_of_another_split_may_change(lines):
    assert lines("train", changed="test.jsonl") == ["data train (rows): unchanged"]
    assert "has changed" in lines("train", changed="train.jsonl")[0]


@pytest.mark.parametrize("split", ["gone", "train["])
def test_a_split_of_a_damaged_manifest_is_not_there(lines, split):
    assert lines("train", now=split) == ["data train (rows): is not there"]
