"""Read the Arrow cache of `datasets`: splits and first rows of datasets loaded before. Sends no request.

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
    """A dataset configuration as last loaded: its folder, and its splits with their row counts."""

    folder: Path
    splits: Mapping[str, int]


def cached(dataset: str, revision: str | None) -> Mapping[str, CachedConfig]:
    """Return the cached configurations of `dataset`, at `revision` if given, else the latest."""
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
    """Return the commit of `dataset` that `datasets` would load without a network.

    The last one loaded; else the commit of the main branch when a file was last fetched. None if neither is
    known.
    """
    folders = [one.folder for one in cached(dataset, None).values()]
    latest = max(folders, key=lambda folder: folder.stat().st_mtime, default=None)
    if latest is not None and is_commit(latest.name):
        return latest.name
    return commit(dataset, None, DATASET)


def first_rows(config: CachedConfig, split: str, most: int) -> Rows | None:
    """Return the first rows of a split; None if its file cannot be read."""
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
