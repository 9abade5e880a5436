"""The hub's local cache: the last commit of a repository, and its files."""

from __future__ import annotations

import json
import re
from pathlib import Path

MODEL, DATASET = "model", "dataset"
"""Kinds of repository, in the hub's own words."""

INDEX = "model.safetensors.index.json"
"""Index file of sharded weights: the file of each tensor."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors")


def is_commit(name: str) -> bool:
    """Return whether a revision is a commit hash."""
    return _COMMIT.fullmatch(name) is not None


def commit(repository: str, revision: str | None, kind: str = MODEL) -> str | None:
    """Return the commit of `revision` (None: main) when `repository` was last loaded.

    None if it was never loaded.
    """
    wanted = revision or "main"
    if is_commit(wanted):
        return wanted
    try:
        found = (_folder(repository, kind) / "refs" / wanted).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return found if is_commit(found) else None


def snapshot(repository: str, revision: str | None, kind: str = MODEL) -> Path | None:
    """Return the folder with the cached files of `revision`; None if there is none."""
    found = commit(repository, revision, kind)
    folder = _folder(repository, kind) / "snapshots" / found if found else None
    return folder if folder is not None and folder.is_dir() else None


def is_whole(folder: Path) -> bool:
    """Return whether the snapshot `folder` holds a complete model or adapter: config and all weights."""
    has_config = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    return has_config and has_weights(folder)


def has_weights(folder: Path) -> bool:
    """Return whether all weights are present: of a sharded model every file of its index."""
    if any((folder / name).is_file() for name in _WEIGHTS):
        return True
    try:
        listed = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return all((folder / name).is_file() for name in set(listed))


def _folder(repository: str, kind: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)
