"""Which stages of a plan are finished already, and why the others are trained. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.store.files import read_json
from ptspec.store.fingerprint import Hashes, changes, digest, ingredients, parent_fingerprint
from ptspec.store.output_hashes import CHANGED, is_as_saved, kept_folders
from ptspec.store.stage_folder import ADAPTER_CONFIG, RECORD, finished_record, partial_folder

MARK = ".fingerprint"
"""In a half-made stage: the fingerprint of the stage that it is for."""


class ReuseState(Enum):
    """What becomes of a stage that lies in the output folder."""

    NEW = "new"
    REUSED = "reused"
    AGAIN = "trained again"
    GOES_ON = "goes on"


@dataclass(frozen=True)
class Reuse:
    """`reason`: what has changed since, or where it goes on from. `covered`: what the fingerprint covers."""

    state: ReuseState = ReuseState.NEW
    reason: str = ""
    fingerprint: str = ""
    covered: Mapping[str, Any] = field(default_factory=dict)


def reuses(plan: Plan, *, fresh: bool = False) -> dict[str, Reuse]:
    """Stage name -> what becomes of what lies in the plan's output folder."""
    hashes = Hashes(plan)
    fingerprints = {BASE: BASE}
    found: dict[str, Reuse] = {}
    for stage in plan.stages:
        covered = ingredients(plan, stage, parent_fingerprint(stage, fingerprints), hashes)
        fingerprints[stage.name] = digest(covered)
        reuse = _reuse(plan, stage, covered, fingerprints[stage.name], found, fresh)
        found[stage.name] = replace(reuse, covered=covered)
    return found


def _reuse(
    plan: Plan,
    stage: Stage,
    covered: dict[str, Any],
    fingerprint: str,
    earlier: dict[str, Reuse],
    fresh: bool,
) -> Reuse:
    record = finished_record(plan.output, stage.name)
    again = [name for name in _reward_models(plan, stage) if _is_trained(earlier.get(name))]
    if record is None:
        before = None if fresh else renamed_from(plan, fingerprint)
        if before is not None and not again:
            return Reuse(ReuseState.REUSED, f"finished as {before}", fingerprint)
        return _half_made(plan, stage, fingerprint)
    if fresh:
        return Reuse(ReuseState.AGAIN, "asked for with --fresh", fingerprint)
    if record.get("fingerprint") == fingerprint and not is_as_saved(
        plan.output, stage.name, kept_folders(plan.output)
    ):
        return Reuse(ReuseState.AGAIN, CHANGED, fingerprint)
    if record.get("fingerprint") == fingerprint and not again:
        return Reuse(ReuseState.REUSED, f"finished {record.get('finished', '')}", fingerprint)
    words = changes(record.get("ingredients", {}), covered)
    words = [f"{stage.parent} changes" if word == "parent changed" else word for word in words]
    words += [f"reward model {name} changes" for name in again]
    return Reuse(ReuseState.AGAIN, ", ".join(words) or "changed", fingerprint)


def _reward_models(plan: Plan, stage: Stage) -> list[str]:
    """Stages of the plan that train a reward model which `stage` follows."""
    judge = plan.judges.get(stage.judge or "")
    names = [*stage.rewards, *([judge.reward] if judge is not None and judge.reward else [])]
    models = [plan.rewards[name].model for name in names if name in plan.rewards]
    return [other.name for other in plan.stages if other.name in models]


def _is_trained(reuse: Reuse | None) -> bool:
    return reuse is not None and reuse.state is not ReuseState.REUSED


def renamed_from(plan: Plan, fingerprint: str) -> str | None:
    """The finished stage in the plan's folder that has this fingerprint and a name which the plan no longer
    knows; None where there is none, or where other adapters stand on its weights under that name."""
    known = {BASE, *(stage.name for stage in plan.stages)}
    for folder in sorted(path.parent for path in plan.output.glob(f"*/{RECORD}")):
        if folder.name in known or folder.name.startswith(".") or folder.is_symlink():
            continue
        record = finished_record(plan.output, folder.name) or {}
        if record.get("fingerprint") == fingerprint and not _is_stood_on(folder):
            return folder.name
    return None


def _is_stood_on(folder: Path) -> bool:
    for config in folder.parent.glob(f"*/{ADAPTER_CONFIG}"):
        try:
            below = read_json(config).get("base_model_name_or_path")
        except InputError:
            return True
        if below and Path(str(below)).name == folder.name:
            return True
    return False


def is_made_for(partial: Path, fingerprint: str) -> bool:
    """Whether a half-made stage in `partial` is the one with this fingerprint, and may be gone on with."""
    try:
        return (partial / MARK).read_text("utf-8") == fingerprint or is_trained(partial, fingerprint)
    except (OSError, ValueError):
        return is_trained(partial, fingerprint)


def is_trained(partial: Path, fingerprint: str) -> bool:
    """Whether that stage lacks nothing but its evaluation and its name."""
    try:
        return read_json(partial / RECORD).get("fingerprint") == fingerprint
    except InputError:
        return False


def _half_made(plan: Plan, stage: Stage, fingerprint: str) -> Reuse:
    partial = partial_folder(plan.output, stage.name)
    if is_trained(partial, fingerprint):
        return Reuse(ReuseState.GOES_ON, "its evaluation", fingerprint)
    numbers = [name.rpartition("-")[2] for name in map(str, (partial / "checkpoints").glob("checkpoint-*"))]
    steps = [int(number) for number in numbers if number.isdigit()]
    if not steps or not is_made_for(partial, fingerprint):
        return Reuse(ReuseState.NEW, "", fingerprint)
    return Reuse(ReuseState.GOES_ON, f"step {max(steps)}", fingerprint)
