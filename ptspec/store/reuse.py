"""Which stages of a plan are finished already, and why the others are trained. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.recipe.plan import BASE, Plan, Stage, rewards_of
from ptspec.store.files import read_json
from ptspec.store.fingerprint import Hashes, changes, digest, ingredients, parent_fingerprint
from ptspec.store.half_made import (
    holds_work,
    is_made_for,
    is_set_aside,
    is_trained,
    kept_aside,
    last_step,
    read_mark,
)
from ptspec.store.output_hashes import CHANGED, OutputHashes
from ptspec.store.stage_folder import ADAPTER_CONFIG, RECORD, finished_record, partial_folder


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
    hashes, saved = Hashes(plan), OutputHashes(plan.output)
    fingerprints = {BASE: BASE}
    found: dict[str, Reuse] = {}
    for stage in plan.stages:
        covered = ingredients(plan, stage, parent_fingerprint(stage, fingerprints, hashes), hashes)
        fingerprints[stage.name] = digest(covered)
        reuse = _reuse(plan, stage, covered, fingerprints[stage.name], saved, found, fresh)
        found[stage.name] = replace(reuse, covered=covered)
    return found


def _reuse(
    plan: Plan,
    stage: Stage,
    covered: dict[str, Any],
    fingerprint: str,
    saved: OutputHashes,
    earlier: dict[str, Reuse],
    fresh: bool,
) -> Reuse:
    record = finished_record(plan.output, stage.name)
    again = [name for name in _reward_models(plan, stage) if _is_trained(earlier.get(name))]
    if record is None:
        before = None if fresh else renamed_from(plan, fingerprint)
        if before is not None and not again:
            return Reuse(ReuseState.REUSED, f"finished as {before}", fingerprint)
        return _half_made(plan, stage, covered, fingerprint)
    if fresh:
        return Reuse(ReuseState.AGAIN, "asked for with --fresh", fingerprint)
    if record.get("fingerprint") == fingerprint and not saved.is_as_saved(stage.name):
        return Reuse(ReuseState.AGAIN, CHANGED, fingerprint)
    if record.get("fingerprint") == fingerprint and not again:
        return Reuse(ReuseState.REUSED, f"finished {record.get('finished', '')}", fingerprint)
    going_on = _half_made(plan, stage, covered, fingerprint)
    if going_on.state is ReuseState.GOES_ON and not again:
        return going_on
    words = changes(record.get("ingredients", {}), covered)
    words = [f"{stage.parent} changes" if word == "parent changed" else word for word in words]
    words += [f"reward model {name} changes" for name in again]
    return Reuse(ReuseState.AGAIN, ", ".join(words) or "changed", fingerprint)


def _reward_models(plan: Plan, stage: Stage) -> list[str]:
    """Stages of the plan that train a reward model which `stage` follows."""
    models = [plan.rewards[name].model for name in rewards_of(stage, plan.judges) if name in plan.rewards]
    return [other.name for other in plan.stages if other.name in models]


def _is_trained(reuse: Reuse | None) -> bool:
    return reuse is not None and reuse.state is not ReuseState.REUSED


def renamed_from(plan: Plan, fingerprint: str) -> str | None:
    """The finished stage in the plan's folder that has this fingerprint and a name which the plan no longer
    knows; None where there is none, or where other adapters stand on its weights under that name."""
    for folder in _no_longer_known(plan):
        record = finished_record(plan.output, folder.name) or {}
        if record.get("fingerprint") == fingerprint and not _is_stood_on(folder):
            return folder.name
    return None


def left_behind(plan: Plan) -> list[Path]:
    """Folders of stages, finished or half made, that lie in the plan's folder and are none of the plan's."""
    ours = {partial_folder(plan.output, stage.name) for stage in plan.stages}
    halves = sorted(set(plan.output.glob(".*.partial")) - ours)
    return [*_no_longer_known(plan), *(folder for folder in halves if holds_work(folder))]


def _no_longer_known(plan: Plan) -> Iterator[Path]:
    """Folders of finished stages whose name the plan does not have."""
    known = {BASE, *(stage.name for stage in plan.stages)}
    for folder in sorted(path.parent for path in plan.output.glob(f"*/{RECORD}")):
        is_stage = not folder.name.startswith(".") and not folder.is_symlink() and not is_set_aside(folder)
        if is_stage and folder.name not in known:
            yield folder


def _is_stood_on(folder: Path) -> bool:
    for config in folder.parent.glob(f"*/{ADAPTER_CONFIG}"):
        try:
            below = read_json(config).get("base_model_name_or_path")
        except InputError:
            return True
        if below and Path(str(below)).name == folder.name:
            return True
    return False


def _half_made(plan: Plan, stage: Stage, covered: Mapping[str, Any], fingerprint: str) -> Reuse:
    partial = partial_folder(plan.output, stage.name)
    is_ours = is_made_for(partial, fingerprint)
    folder = partial if is_ours else kept_aside(plan.output, stage.name, fingerprint)
    if folder is not None:
        where = "" if is_ours else f", in {folder.name}"
        if is_trained(folder, fingerprint):
            return Reuse(ReuseState.GOES_ON, f"its evaluation{where}", fingerprint)
        if (step := last_step(folder)) is not None:
            return Reuse(ReuseState.GOES_ON, f"step {step}{where}", fingerprint)
    if is_ours or not holds_work(partial):
        return Reuse(ReuseState.NEW, "", fingerprint)
    why = ", ".join(what_changed(read_mark(partial), stage.parent, covered))
    return Reuse(ReuseState.NEW, f"what is half made is set aside{why and ': '}{why}", fingerprint)


def what_changed(record: Mapping[str, Any], parent: str, covered: Mapping[str, Any]) -> list[str]:
    """In words, what a stage's fingerprint covers now that it did not when `record` was written."""
    words = changes(record.get("ingredients", {}), covered)
    return [f"{parent} changed" if word == "parent changed" else word for word in words]
