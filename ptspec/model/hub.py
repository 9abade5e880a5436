"""Which commit of a repository on the hub was loaded, told by the hub's local cache. Asks no server."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}")


def commit(repository: str, revision: str | None, kind: str = "model") -> str | None:
    """The commit hash that `revision` (None: main) of `repository` stood for when it was last loaded; None
    where it never was. `kind` is the hub's own word: model, dataset."""
    wanted = revision or "main"
    if _COMMIT.fullmatch(wanted):
        return wanted
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type=kind)
    try:
        found = (Path(constants.HF_HUB_CACHE) / folder / "refs" / wanted).read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return found if _COMMIT.fullmatch(found) else None
