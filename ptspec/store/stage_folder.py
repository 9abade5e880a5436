"""Read a stage's folder, publish it atomically, and recognise a half-written one. Imports no torch.

A stage is finished or absent: it is made in `.<stage>.partial` and published by one rename.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.store.files import flush_folder, open_to_umask, read_json, write_json
from ptspec.store.safetensors_only import SUFFIXES, refuse_pickles

RECORD = "stage.json"
PICKED = "picked"
"""Key in a stage's record: the variant it took over, and what the choice depended on."""
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "config.json"
AGGREGATES = "evaluation_stats.json"
"""The file of an evaluation that is written last: if it exists, the evaluation is complete."""
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
FORMAT = 1


@dataclass(frozen=True)
class Artifact:
    """A folder with an adapter (over the weights at `weights`) or with full weights."""

    folder: Path
    is_adapter: bool
    weights: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def partial_folder(output: Path, stage: str) -> Path:
    """Return the folder in which `stage` is made."""
    return output / f".{stage}.partial"


def finished_record(output: Path, stage: str) -> dict[str, Any] | None:
    """Return `stage.json` of a finished stage; None if it is missing or unreadable."""
    try:
        return read_json(output / stage / RECORD)
    except InputError:
        return None


def publish(partial: Path, final: Path) -> None:
    """Rename `partial` to `final`; an older `final` is moved aside first and removed afterwards."""
    aside = final.parent / f".{final.name}.old"
    _remove(aside)
    open_to_umask(partial)
    if final.exists():
        final.rename(aside)
    partial.rename(final)
    flush_folder(final.parent)
    _remove(aside)


def _remove(path: Path) -> None:
    """Of a link, the link alone."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def rename_finished(output: Path, before: str, after: str) -> None:
    """Rename the finished stage `before`. Its evaluation keeps the old name inside."""
    final = output / after
    (output / before).rename(final)
    write_json(final / RECORD, read_json(final / RECORD) | {"stage": after})


def recover(final: Path) -> None:
    """Restore a folder that a crash in `publish` left aside; remove it if the new one exists."""
    aside = final.parent / f".{final.name}.old"
    if aside.exists() and not final.exists():
        aside.rename(final)
    _remove(aside)


def strip_pickles(folder: Path) -> None:
    """Remove from checkpoints what cannot be loaded safely; keep weights and the trainer's state."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES:
            path.unlink()


def open_artifact(folder: Path, at: str | None = None) -> Artifact:
    """Return the adapter or full weights in `folder`. Raises `InputError` if there is neither."""
    if (folder / ADAPTER_CONFIG).is_file():
        refuse_pickles(str(folder), at)
        config = read_json(folder / ADAPTER_CONFIG)
        return Artifact(folder, True, adapter_weights(folder, config))
    if (folder / MODEL_CONFIG).is_file():
        return Artifact(folder, False, str(folder))
    what = (
        "there is no such folder"
        if not folder.is_dir()
        else "it has neither adapter_config.json nor config.json"
    )
    raise InputError(
        Diagnostic(
            "not-a-model", f"{folder} is neither an adapter nor a model: {what}", Location(str(folder)), at
        )
    )


def adapter_weights(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the folder or hub id of an adapter's base weights, from `adapter_config.json`.

    If a whole run was moved, the stage beside it.
    """
    named = str(config.get("base_model_name_or_path") or "")
    beside = folder.resolve().parent / Path(named).name
    return (
        str(beside) if Path(named).is_absolute() and not Path(named).exists() and beside.is_dir() else named
    )
