"""Rows of a hub are checked as those of files are, when they are loaded. A folder stands in for the hub."""

from __future__ import annotations

import json

import pytest

from ptspec.data.dataset import load
from ptspec.diagnostics import InputError
from ptspec.methods.types import Rows
from ptspec.recipe.sources import Source

PAIR = {"prompt": "Where is Tarn?", "chosen": "In the north.", "rejected": "Tarn"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A source that `datasets.load_dataset` loads by its name, as it does one on the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def hub(*rows: dict, **fields) -> dict[str, Source]:
        folder = tmp_path / "rows"
        folder.mkdir()
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"train": Source("train", (), hub=str(folder), at="/data/train", **fields)}

    return hub


def test_sound_rows_are_loaded(hub):
    found = load(hub(PAIR, {**PAIR, "prompt": "Where is Ost?"}), "train", Rows.PREFERENCE, seed=0)
    assert found.num_rows == 2


def test_every_fault_is_reported_with_its_row(hub):
    rows = [PAIR, {**PAIR, "rejected": None}, {**PAIR, "chosen": "Tarn"}, {**PAIR, "rejected": None}]
    with pytest.raises(InputError) as error:
        load(hub(*rows), "train", Rows.PREFERENCE, seed=0)
    null, equal = error.value.diagnostics
    assert (null.code, null.location.line, null.pointer) == ("null-value", 2, "/data/train")
    assert null.notes == ("2 rows of 4 have this error: lines 2, 4",)
    assert (equal.code, equal.location.line) == ("equal-pair", 3)


def test_columns_are_renamed_first(hub):
    rows = [{"question": PAIR["prompt"], "chosen": "a", "rejected": "b"}]
    source = hub(*rows, columns={"prompt": "question"})
    assert load(source, "train", Rows.PREFERENCE, seed=0)[0]["prompt"][0]["content"] == PAIR["prompt"]
