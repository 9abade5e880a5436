"""Splits of local files against the library `datasets`: the grammar, the rounding, and what names tell."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from datasets.data_files import DataFilesList, EmptyDatasetError, get_data_patterns
from hypothesis import example, given
from hypothesis import strategies as st

from ptspec.data.readers.scan import scan
from ptspec.recipe.data_files import files_below, folder_splits
from ptspec.recipe.paths import Places
from ptspec.recipe.source_files import chosen, look
from ptspec.recipe.sources import Source
from ptspec.recipe.splits import parse

BOUNDS = st.none() | st.integers(-120, 120)


@st.composite
def split_texts(draw):
    """A split with a slice in every form the grammar has, and some that it has not."""
    name = draw(st.sampled_from(["train", "test", "train_sft", "a.b"]))
    start, stop = draw(BOUNDS), draw(BOUNDS)
    units = draw(st.tuples(st.sampled_from(["", "%"]), st.sampled_from(["", "%"])))
    left, right = (
        f"{b}{unit}" if b is not None else "" for b, unit in zip((start, stop), units, strict=True)
    )
    rounding = draw(st.sampled_from(["", "", "(closest)", "(pct1_dropremainder)", "(up)"]))
    return draw(st.sampled_from([name, f"{name}[{left}:{right}]{rounding}", f"{name}[{left}]"]))


def ours(text: str, rows: int) -> list[tuple[str, int, int]] | None:
    try:
        return [(one.split, *one.bounds(rows)) for one in parse(text)]
    except ValueError:
        return None


def theirs(text: str, rows: int) -> list[tuple[str, int, int]] | None:
    try:
        instruction = datasets.ReadInstruction.from_spec(text)
        found = instruction.to_absolute(dict.fromkeys(["train", "test", "train_sft", "a.b"], rows))
    except ValueError:
        return None
    return [(one.splitname, one.from_, one.to) for one in found]


@given(st.lists(split_texts(), min_size=1, max_size=3), st.integers(0, 400))
@example(["train[:50%]"], 5)  # 2.5 is rounded to the even number
@example(["train[:50%]"], 7)
@example(["train[50%:](pct1_dropremainder)"], 199)
@example(["train[-5%:]", "test[10:20]"], 64)
@example(["train[10:50%]"], 64)  # a bound without % is in per cent too
@example(["train[1_0:]"], 64)
@example(["train[_:]"], 64)
def test_bounds_are_those_of_a_read_instruction(texts, rows):
    text = " + ".join(texts)
    assert ours(text, rows) == theirs(text, rows)


TREES = {
    "plain": ["a.jsonl", "b.jsonl"],
    "names": ["train.jsonl", "test.jsonl", "notes.jsonl"],
    "more_names": ["my-train-1.jsonl", "train_0.jsonl", "dev.jsonl", "x.eval.jsonl", "trained.jsonl"],
    "two_in_one": ["train_test.jsonl", "b.jsonl"],
    "folders": ["train/a.jsonl", "train/deep/b.jsonl", "validation/a.jsonl", "test.jsonl"],
    "folders_with_more": ["my_training-2/a.jsonl", "x/eval 1/a.jsonl"],
    "below": ["data/train.jsonl", "data/test.jsonl"],
    "shards": [
        "data/train_sft-00000-of-00002.jsonl",
        "data/train_sft-00001-of-00002-abc.jsonl",
        "data/test-00000-of-00001.jsonl",
        "data/other-00000-of-00001.jsonl",
    ],
    "shards_elsewhere": ["train-00000-of-00001.jsonl", "test_gen-00000-of-00001.jsonl"],
    "hidden": [".cache/train.jsonl", "__x__/test.jsonl", "val.jsonl", ".train.jsonl"],
    "one": ["test.jsonl"],
    "order": ["a-train.jsonl", "train-b.jsonl", "training.jsonl", "b/train.jsonl", "b-train.jsonl"],
    "capital": ["Train.jsonl", "TEST.jsonl"],
}


def make(root: Path, names: list[str]) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": f"{name} {number}"} for number in range(25)]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize("names", TREES.values(), ids=TREES)
def test_names_tell_the_splits_that_datasets_finds(tmp_path, names):
    make(tmp_path, names)
    patterns = get_data_patterns(tmp_path.as_posix())
    expected = {
        split: [
            Path(file) for file in dict.fromkeys(DataFilesList.from_patterns(wanted, tmp_path.as_posix()))
        ]
        for split, wanted in patterns.items()
    }
    found = {split: list(files) for split, files in folder_splits(tmp_path, files_below(tmp_path)).items()}
    if expected.keys() == {"train"} and patterns["train"] == ["**"]:
        assert found == {}, "no name tells a split"
    else:
        assert found == expected
        assert list(found) == list(expected)


@pytest.mark.parametrize(
    "split",
    [
        "train",
        "test",
        "train[:50%]",
        "train[-5%:]",
        "train[10:20]",
        "test[-3:]+train[:3]",
        "train+test",
        "all",
    ],
)
@pytest.mark.parametrize("tree", ["names", "folders_with_more", "shards", "order"])
def test_rows_are_those_that_datasets_loads(tmp_path, monkeypatch, tree, split):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make(tmp_path / "rows", TREES[tree])
    try:
        expected = datasets.load_dataset(
            str(tmp_path / "rows"), split=split, cache_dir=str(tmp_path / "cache")
        )
    except (ValueError, EmptyDatasetError):
        expected = None
    paths, splits = chosen([look("rows", Places(tmp_path, tmp_path))], split)
    if expected is None:
        assert paths == ()
        return
    rows = scan(Source("train", paths, split=split, splits=splits))
    assert [row.values["text"] for row in rows] == list(expected["text"])


def test_what_save_to_disk_wrote_is_read(tmp_path):
    rows = {
        name: datasets.Dataset.from_list([{"text": f"{name} {i}"} for i in range(5)])
        for name in ("train_sft", "train_gen")
    }
    datasets.DatasetDict(rows).save_to_disk(str(tmp_path / "saved"))
    paths, splits = chosen([look("saved", Places(tmp_path, tmp_path))], "train_gen[1:]")
    found = scan(Source("train", paths, split="train_gen[1:]", splits=splits))
    assert [row.values["text"] for row in found] == [f"train_gen {i}" for i in range(1, 5)]

    rows["train_sft"].save_to_disk(str(tmp_path / "alone"))
    paths, _ = chosen([look("alone", Places(tmp_path, tmp_path))], None)
    assert [path.suffix for path in paths] == [".arrow"]
    assert sum(1 for _ in scan(Source("train", paths))) == 5
