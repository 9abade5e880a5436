"""A stage's folder: how it is read, written whole, and told from half of one. Knows no trainer and no torch.

A stage is done or it is not there: it is made in `.<stage>.partial` and appears by one rename.
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
"""In the record of a stage that took a variant over: which one, and what the choice depended on."""
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_CONFIG = "config.json"
AGGREGATES = "evaluation_stats.json"
"""The file of an evaluation that is written last: where it stands, the evaluation is whole."""
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
FORMAT = 1


@dataclass(frozen=True)
class Artifact:
    """A folder with an adapter (over the weights at `weights`) or with full weights of its own."""

    folder: Path
    is_adapter: bool
    weights: str

    @property
    def name(self) -> str:
        return self.folder.name


def partial_folder(output: Path, stage: str) -> Path:
    return output / f".{stage}.partial"


def finished_record(output: Path, stage: str) -> dict[str, Any] | None:
    """`stage.json` of a finished stage, or None where there is none (an unreadable one counts as none)."""
    try:
        return read_json(output / stage / RECORD)
    except InputError:
        return None


def publish(partial: Path, final: Path) -> None:
    """Makes `partial` appear as `final`; an older `final` is moved aside first and removed after."""
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
    """Gives the finished stage `before` another name. Its evaluation still has the old one in it."""
    final = output / after
    (output / before).rename(final)
    write_json(final / RECORD, read_json(final / RECORD) | {"stage": after})


def recover(final: Path) -> None:
    """Puts back a folder that a crash inside `publish` left aside; removes it where the new one is there."""
    aside = final.parent / f".{final.name}.old"
    if aside.exists() and not final.exists():
        aside.rename(final)
    _remove(aside)


def strip_pickles(folder: Path) -> None:
    """Leaves of the checkpoints what can be loaded without running code: weights and the trainer's state."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES:
            path.unlink()


def open_artifact(folder: Path, at: str | None = None) -> Artifact:
    """What lies in `folder`: an adapter or full weights; `InputError` where it is neither."""
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
        Diagnostic("not-a-model", f"{folder} is no adapter and no model: {what}", Location(str(folder)), at)
    )


def adapter_weights(folder: Path, config: Mapping[str, Any]) -> str:
    """The folder or hub id of the weights that an adapter stands on, as `adapter_config.json` names it; the
    stage beside it where a whole run was moved."""
    named = str(config.get("base_model_name_or_path") or "")
    beside = folder.resolve().parent / Path(named).name
    return (
        str(beside) if Path(named).is_absolute() and not Path(named).exists() and beside.is_dir() else named
    )
