"""Which stages of a plan are finished already, and why the others are trained. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.methods.types import Yields
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.recipe.second_models import second_models_of
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
    """`reason`: what has changed since, or where it goes on from. `changed`: what has changed since the stage
    was finished; empty where it never was. `covered`: what the fingerprint covers. `renamed_from`: the name
    under which a reused stage lies, where the recipe calls it something else now."""

    state: ReuseState = ReuseState.NEW
    reason: str = ""
    changed: str = ""
    fingerprint: str = ""
    covered: Mapping[str, Any] = field(default_factory=dict)
    renamed_from: str | None = None


@dataclass(frozen=True)
class _Asked:
    """A stage, and what its fingerprint covers. `again`: the stages before it that will be trained."""

    plan: Plan
    stage: Stage
    covered: Mapping[str, Any]
    fingerprint: str
    fresh: bool
    again: Collection[str]


def reuses(plan: Plan, *, fresh: bool = False) -> dict[str, Reuse]:
    """Stage name -> what becomes of what lies in the plan's output folder."""
    hashes, saved = Hashes(plan), OutputHashes(plan.output)
    fingerprints = {BASE: BASE}
    found: dict[str, Reuse] = {}
    for stage in plan.stages:
        covered = ingredients(plan, stage, parent_fingerprint(stage, fingerprints, hashes), hashes)
        again = [name for name, reuse in found.items() if reuse.state is not ReuseState.REUSED]
        reuse = reuse_of(plan, stage, covered, saved, fresh=fresh, again=again)
        fingerprints[stage.name] = reuse.fingerprint
        found[stage.name] = reuse
    return found


def reuse_of(
    plan: Plan,
    stage: Stage,
    covered: Mapping[str, Any],
    saved: OutputHashes,
    *,
    fresh: bool,
    again: Collection[str] = (),
) -> Reuse:
    """What becomes of what lies in the plan's output folder of `stage`. `covered`: what its fingerprint
    covers; `again`: the stages that will be trained before it, so that what it covers is not final."""
    asked = _Asked(plan, stage, covered, digest(covered), fresh, again)
    return replace(_reuse(asked, saved), fingerprint=asked.fingerprint, covered=covered)


def _reuse(asked: _Asked, saved: OutputHashes) -> Reuse:
    plan, stage = asked.plan, asked.stage
    name = stage.name
    record = finished_record(plan.output, name)
    if record is None and not asked.fresh:
        name = _renamed_from(plan, asked.fingerprint, saved) or name
        record = finished_record(plan.output, name)
    if record is None:
        return _half_made(asked)
    is_same = record.get("fingerprint") == asked.fingerprint and not asked.fresh
    if is_same and not saved.is_as_saved(name):
        changed = CHANGED
    elif is_same and not _second_models_again(asked):
        renamed_from = name if name != stage.name else None
        finished = f"finished as {name}" if renamed_from else f"finished {record.get('finished', '')}"
        return Reuse(ReuseState.REUSED, finished, renamed_from=renamed_from)
    else:
        changed = ", ".join(_what_changed(record, asked)) or "asked for with --fresh"
    half_made = _half_made(asked)
    if half_made.state is ReuseState.GOES_ON:
        return replace(half_made, changed=changed)
    return Reuse(ReuseState.AGAIN, changed, changed)


def _second_models_again(asked: _Asked) -> list[str]:
    """Stages that train a model which the stage learns from, and that will be trained before it."""
    plan = asked.plan
    models = [second.path for second in second_models_of(plan, asked.stage)]
    return [other.name for other in plan.stages if other.name in models and other.name in asked.again]


def _renamed_from(plan: Plan, fingerprint: str, saved: OutputHashes) -> str | None:
    """The finished stage in the plan's folder that has this fingerprint and a name which the plan no longer
    knows, one whose files are as they were saved if there is one; None where there is none, or where other
    adapters stand on its weights under that name."""
    found = [
        folder.name
        for folder in _no_longer_known(plan)
        if (finished_record(plan.output, folder.name) or {}).get("fingerprint") == fingerprint
        and not _is_stood_on(folder)
    ]
    return next(filter(saved.is_as_saved, found), found[0] if found else None)


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


def _half_made(asked: _Asked) -> Reuse:
    output, stage, fingerprint = asked.plan.output, asked.stage, asked.fingerprint
    partial = partial_folder(output, stage.name)
    if _second_models_again(asked):
        folder = None  # it will have another fingerprint
    elif is_made_for(partial, fingerprint):
        folder = partial
    else:
        folder = None if asked.fresh else kept_aside(output, stage.name, fingerprint)
    if folder is not None:
        where = "" if folder == partial else f", in {folder.name}"
        if is_trained(folder, fingerprint):
            return Reuse(ReuseState.GOES_ON, f"its evaluation{where}")
        if (step := last_step(folder)) is not None:
            return Reuse(ReuseState.GOES_ON, f"step {step}{where}")
    if folder == partial or not holds_work(partial):
        return Reuse()
    why = ", ".join(_what_changed(read_mark(partial), asked))
    return Reuse(reason=f"what is half made is set aside{why and ': '}{why}")


def _what_changed(record: Mapping[str, Any], asked: _Asked) -> list[str]:
    parent, again = asked.stage.parent, asked.again
    trained = {stage.name: stage.method.yields for stage in asked.plan.stages}
    words = {Yields.REWARD_MODEL: "reward model", Yields.POLICY: "teacher"}
    others = [f"{words[trained[name]]} {name} changes" for name in _second_models_again(asked)]
    return [*what_changed(record, parent, asked.covered, again=parent in again), *others]


def what_changed(
    record: Mapping[str, Any], parent: str, covered: Mapping[str, Any], *, again: bool = False
) -> list[str]:
    """In words, what a stage's fingerprint covers now that it did not when `record` was written; `again`: its
    parent will be trained before it."""
    verb = "changes" if again else "changed"
    words = changes(record.get("ingredients", {}), covered)
    return [f"{parent} {verb}" if word == "parent changed" else word for word in words]
