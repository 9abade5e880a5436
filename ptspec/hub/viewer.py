"""The hub's dataset viewer: configurations, splits and first rows of a dataset.

Requests follow `datasets` (datasets 5.2, `utils/_dataset_viewer.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.hub.connection import TIMEOUT

Splits = Mapping[str, tuple[str, ...]]
"""Configuration -> its splits."""


@dataclass(frozen=True)
class Rows:
    """The columns of a split, and its first complete rows."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]


def splits(dataset: str, commit: str) -> Splits | None:
    """Return every split of `dataset`; None if the viewer lacks some, or has another commit."""
    answer = _ask("splits", commit, dataset=dataset)
    if answer is None or answer.get("pending") or answer.get("failed"):
        return None
    found: dict[str, list[str]] = {}
    for one in answer.get("splits", ()):
        found.setdefault(str(one["config"]), []).append(str(one["split"]))
    return {config: tuple(names) for config, names in found.items()} or None


def first_rows(dataset: str, commit: str, config: str, split: str) -> Rows | None:
    """Return the first rows of a split, up to a row with a truncated cell."""
    answer = _ask("first-rows", commit, dataset=dataset, config=config, split=split)
    if answer is None or "rows" not in answer:
        return None
    whole: list[Mapping[str, Any]] = []
    for one in answer["rows"]:
        if one.get("truncated_cells"):
            break
        whole.append(one["row"])
    return Rows(tuple(str(feature["name"]) for feature in answer.get("features", ())), tuple(whole))


def _ask(what: str, commit: str, **parameters: str) -> Mapping[str, Any] | None:
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # not in its __all__

    address = f"{constants.ENDPOINT.replace('://', '://datasets-server.')}/{what}"
    try:
        response = get_session().get(address, params=parameters, headers=build_hf_headers(), timeout=TIMEOUT)
        answer = response.json() if response.status_code == 200 else None
    except Exception:  # the viewer is optional: on any failure the files are read instead
        return None
    is_current = response.headers.get("X-Revision", commit) == commit
    return answer if is_current and isinstance(answer, dict) else None
