"""The Arrow cache of `datasets`: splits and first rows of a dataset that was loaded before. Asks no server.

Its folders are `NAMESPACE___NAME/CONFIG/VERSION/COMMIT` (datasets 5.2, `packaged_modules/cache/cache.py`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.hub.cache import DATASET, commit, is_commit
from ptspec.hub.viewer import Rows

INFO = "dataset_info.json"
_CAPITALS = (re.compile(r"([A-Z]+)([A-Z][a-z])"), re.compile(r"([a-z\d])([A-Z])"))


@dataclass(frozen=True)
class CachedConfig:
    """A configuration as it was loaded last: its folder, its splits with the number of rows of each."""

    folder: Path
    splits: Mapping[str, int]


def cached(dataset: str, revision: str | None) -> Mapping[str, CachedConfig]:
    """The configurations of `dataset` in the cache, of `revision` where one is given, else the latest."""
    folders = [folder for folder in _root(dataset).glob("*/*/*") if (folder / INFO).is_file()]
    if revision is not None:
        wanted = commit(dataset, revision, DATASET)
        folders = [folder for folder in folders if folder.name == wanted]
    found: dict[str, CachedConfig] = {}
    for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime):
        if (one := _read(folder)) is not None:
            found[folder.parts[-3]] = one
    return found


def cached_commit(dataset: str) -> str | None:
    """The commit of `dataset` that was loaded last and is here: what `datasets` reads without a network; else
    that which its main branch stood for when a file of it was fetched last. None where neither is known."""
    folders = [one.folder for one in cached(dataset, None).values()]
    latest = max(folders, key=lambda folder: folder.stat().st_mtime, default=None)
    if latest is not None and is_commit(latest.name):
        return latest.name
    return commit(dataset, None, DATASET)


def first_rows(config: CachedConfig, split: str, most: int) -> Rows | None:
    """The first rows of a split; None where its file cannot be read."""
    import pyarrow

    file = next(iter(sorted(config.folder.glob(f"*-{split}.arrow"))), None)
    file = file or next(iter(sorted(config.folder.glob(f"*-{split}-00000-of-*.arrow"))), None)
    try:
        if file is None:
            return None
        with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as stream:
            rows: list[Mapping[str, Any]] = []
            for batch in stream:
                rows += batch.slice(0, most - len(rows)).to_pylist()
                if len(rows) >= most:
                    break
            return Rows(tuple(stream.schema.names), tuple(rows))
    except (OSError, pyarrow.ArrowException):
        return None


def _root(dataset: str) -> Path:
    from huggingface_hub import constants

    given = os.environ.get("HF_DATASETS_CACHE")
    cache = Path(given).expanduser() if given else Path(constants.HF_HOME) / "datasets"
    *namespace, name = dataset.split("/")
    return cache / "___".join((*namespace, _snake_case(name)))


def _snake_case(name: str) -> str:
    for expression in _CAPITALS:
        name = expression.sub(r"\1_\2", name)
    return name.lower()


def _read(folder: Path) -> CachedConfig | None:
    try:
        splits = json.loads((folder / INFO).read_text("utf-8"))["splits"]
        return CachedConfig(folder, {str(name): int(one["num_examples"]) for name, one in splits.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
