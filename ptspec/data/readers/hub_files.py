"""Splits and first rows of a hub dataset from its card and files, if the viewer has none."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import IO, Any

from ptspec.data.readers.json_list import NotAList, elements
from ptspec.hub.repository import Repository
from ptspec.hub.viewer import Rows, Splits
from ptspec.recipe.splits import TRAIN

DEFAULT = "default"

_DATA = (".parquet", ".jsonl", ".ndjson", ".json", ".csv")
_NAMES = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SHARD = re.compile(r"data/([^/]+)-\d{5}-of-\d{5}[^/]*")

Patterns = Mapping[str, Mapping[str, Sequence[str]]]


def described(repository: Repository) -> Patterns:
    """Return the file patterns of each split and configuration in the dataset's card.

    {} if the card is incomplete.
    """
    found: dict[str, dict[str, Sequence[str]]] = {}
    for one in repository.card.get("configs") or ():
        if not isinstance(one, dict) or "data_files" not in one:
            return {}
        folder = str(one.get("data_dir") or "").strip("/")
        found[str(one.get("config_name", DEFAULT))] = {
            split: [f"{folder}/{pattern}".strip("/") for pattern in given]
            for split, given in _patterns(one["data_files"]).items()
        }
    return found


def default_config(repository: Repository) -> str | None:
    """Return the card's default configuration."""
    configs = [one for one in repository.card.get("configs") or () if isinstance(one, dict)]
    return next((str(one.get("config_name")) for one in configs if one.get("default")), None)


def splits(repository: Repository) -> Splits | None:
    """Return the splits in the card, or else by file names; None if neither tells them."""
    if patterns := described(repository):
        return {config: tuple(given) for config, given in patterns.items()}
    found = _by_name(repository)
    return {DEFAULT: tuple(found)} if found else None


def first_rows(repository: Repository, config: str, split: str, most: int) -> Rows | None:
    """Return the first rows of a split's first file; None for an unknown format."""
    patterns = described(repository)
    if patterns:
        wanted = patterns.get(config, {}).get(split, ())
        files = [f for f in repository.files if any(fnmatchcase(f, pattern) for pattern in wanted)]
    else:
        files = _by_name(repository).get(split, [])
    file = next((name for name in sorted(files) if name.endswith(_DATA)), None)
    return None if file is None else _read(repository, file, most)


def _patterns(given: Any) -> Mapping[str, Sequence[str]]:
    if isinstance(given, str):
        return {TRAIN: [given]}
    if given and all(isinstance(one, dict) for one in given):
        pairs = [(str(one.get("split", TRAIN)), one.get("path", ())) for one in given]
        return {split: [paths] if isinstance(paths, str) else paths for split, paths in pairs}
    return {TRAIN: list(given or ())}


def _by_name(repository: Repository) -> dict[str, list[str]]:
    """Return the files of each split by name; if no name tells a split, all are for training."""
    files = [name for name in repository.files if name.endswith(_DATA)]
    found: dict[str, list[str]] = {}
    for name in files:
        if match := _SHARD.fullmatch(name):
            found.setdefault(match[1], []).append(name)
    for split, words in () if found else _NAMES.items():
        named = [
            name for name in files if any(re.search(rf"(^|[-._ /0-9]){w}[-._ /0-9]", name) for w in words)
        ]
        if named:
            found[split] = named
    return found or ({TRAIN: files} if files else {})


def _read(repository: Repository, file: str, most: int) -> Rows | None:
    from huggingface_hub import HfFileSystem, constants

    system = HfFileSystem(endpoint=constants.ENDPOINT, skip_instance_cache=True)
    path = f"datasets/{repository.name}@{repository.commit}/{file}"
    with system.open(path, "rb", block_size=1 << 20) as opened:
        if file.endswith(".parquet"):
            return _parquet(opened, most)
        rows = tuple(islice(_csv(opened) if file.endswith(".csv") else _json(opened), most))
    return Rows(tuple(rows[0]), rows) if rows else None


def _parquet(file: IO[bytes], most: int) -> Rows:
    import pyarrow.parquet

    opened = pyarrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16)
    batch = (
        next(opened.iter_batches(batch_size=most, row_groups=[0]), None) if opened.num_row_groups else None
    )
    rows = () if batch is None else tuple(batch.to_pylist())
    return Rows(tuple(opened.schema_arrow.names), rows)


def _json(file: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """Return the rows before the first unreadable one, of a list or one per line."""
    begun = file.read(1)
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig")
    values = (value for _, value in elements(text)) if begun == b"[" else map(json.loads, text)
    try:
        for value in values:
            if not isinstance(value, dict):
                return
            yield value
    except (NotAList, ValueError):
        return


def _csv(file: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
