"""What ptspec takes for the layout of caches and cards is what `datasets` makes of the same repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import constants
from support.hub_server import COMMIT, PAIRS, Hub, Repo

from ptspec.data.readers import hub_files
from ptspec.hub import arrow_cache
from ptspec.hub.repository import Repository

ROWS = "".join(json.dumps(row) + "\n" for row in PAIRS).encode()
NAME = "Some-One/myPairs"
CONFIGS = [
    {
        "config_name": "a",
        "data_files": [{"split": "train", "path": "a/*.jsonl"}, {"split": "prefs", "path": "p/*"}],
    },
    {"config_name": "b", "data_files": "b/*.jsonl", "default": True},
    {"config_name": "c", "data_dir": "c", "data_files": [{"split": "test", "path": ["*.jsonl"]}]},
]
CARD = f"---\nconfigs: {json.dumps(CONFIGS)}\n---\n"
FILES = {f"{folder}/rows.jsonl": ROWS for folder in "abcp"}
ASK = f"""
import datasets, json
configs = datasets.get_dataset_config_names({NAME!r})
splits = {{name: datasets.get_dataset_split_names({NAME!r}, name) for name in configs}}
rows = datasets.load_dataset({NAME!r}, CONFIG, split=SPLIT)
default = datasets.get_dataset_default_config_name({NAME!r})
print(json.dumps([splits, default, rows.num_rows]))
"""


def ask(files, home, config=None, split="train"):
    """Splits by configuration, the default one, and the number of rows of a split, as `datasets` says."""
    program = f"CONFIG, SPLIT = {config!r}, {split!r}\n{ASK}"
    with Hub(datasets={NAME: Repo(files)}) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    return tmp_path


def test_the_arrow_cache_is_read_as_it_is_written(home):
    ask({"data/train.jsonl": ROWS, "data/test.jsonl": ROWS}, home)
    for revision in (None, "main", COMMIT):
        (config,) = arrow_cache.cached(NAME, revision).values()
        assert config.splits == {"train": 5, "test": 5}
        assert list(arrow_cache.first_rows(config, "train", 3).rows) == PAIRS[:3]
    assert arrow_cache.cached(NAME, "f" * 40) == {}
    assert arrow_cache.cached("Some-One/other", None) == {}


def test_the_card_tells_configurations_splits_and_the_default(home):
    splits, default, rows = ask({**FILES, "README.md": CARD.encode()}, home, "a", "prefs")
    repository = Repository(NAME, "dataset", COMMIT, tuple(FILES), {"configs": CONFIGS})
    assert {name: sorted(found) for name, found in hub_files.splits(repository).items()} == {
        name: sorted(found) for name, found in splits.items()
    }
    assert (hub_files.default_config(repository), rows) == (default, 5)
    assert list(arrow_cache.cached(NAME, None)) == ["a"]
