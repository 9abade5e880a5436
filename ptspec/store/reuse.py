"""Which stages of a plan are finished, and why the others are trained. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ptspec.data.readers.placed import shown
from ptspec.diagnostics import InputError
from ptspec.methods.types import Yields
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.recipe.second_models import second_models_of
from ptspec.store.content_hashes import Hashes, digest
from ptspec.store.files import read_json
from ptspec.store.fingerprint import PART, changes, covered_by
from ptspec.store.half_made import (
    holds_work,
    is_made_for,
    is_set_aside,
    is_trained,
    kept_aside,
    last_step,
    read_mark,
)
from ptspec.store.other_runs import Finished, OtherRuns
from ptspec.store.output_hashes import CHANGED, OutputHashes
from ptspec.store.picked import ANEW, choice_covered, to_be_picked, why_picked_anew
from ptspec.store.stage_folder import ADAPTER_CONFIG, PICKED, RECORD, finished_record, partial_folder
from ptspec.store.variant_folders import find_variant, in_place


class ReuseState(Enum):
    """What happens with a stage in the output folder."""

    NEW = "new"
    REUSED = "reused"
    AGAIN = "trained again"
    GOES_ON = "goes on"
    TAKEN_OVER = "taken over"

    @property
    def is_finished(self) -> bool:
        """Whether nothing of the stage must be trained."""
        return self in (ReuseState.REUSED, ReuseState.TAKEN_OVER)


@dataclass(frozen=True)
class Reuse:
    """What happens with a stage, and why.

    `reason`: what has changed, or where it resumes. `changed`: what has changed since the stage was finished;
    empty if it never was. `covered`: what the fingerprint covers. `renamed_from`: the name of a reused
    stage's folder, if the recipe has renamed it. `taken_from`: the stage of another run with this
    fingerprint.
    """

    state: ReuseState = ReuseState.NEW
    reason: str = ""
    changed: str = ""
    fingerprint: str = ""
    covered: Mapping[str, Any] = field(default_factory=dict)
    renamed_from: str | None = None
    taken_from: Finished | None = None


@dataclass(frozen=True)
class Before:
    """The fingerprints of earlier stages, and which of them will be trained, if planned in advance."""

    fingerprints: Mapping[str, str]
    again: Collection[str] = ()


@dataclass(frozen=True)
class _Asked:
    """A stage, and what its fingerprint covers."""

    plan: Plan
    stage: Stage
    covered: Mapping[str, Any]
    fingerprint: str
    fresh: bool
    before: Before


def reuses(plan: Plan, *, fresh: bool = False) -> dict[str, Reuse]:
    """Return stage name -> what happens with its folder in the plan's output."""
    hashes, saved, others = Hashes(plan), OutputHashes(plan.output), OtherRuns(plan.output)
    fingerprints = {BASE: BASE}
    found: dict[str, Reuse] = {}
    again: list[str] = []
    for stage in plan.stages:
        before = Before(fingerprints, again)
        if stage.pick is not None:
            covered = choice_covered(plan, stage.pick, fingerprints, hashes)
            reuse = reuse_of_pick(plan, stage, covered, saved, fresh=fresh, again=again)
        else:
            covered = covered_by(plan, stage, fingerprints, hashes)
            reuse = reuse_of(plan, stage, covered, saved, others, before, fresh=fresh)
        fingerprints[stage.name] = reuse.fingerprint
        found[stage.name] = reuse
        if not reuse.state.is_finished:
            again.append(stage.name)
        if reuse.taken_from is not None:
            hashes.lies(stage.name, reuse.taken_from.folder)
    return found


def reuse_of(
    plan: Plan,
    stage: Stage,
    covered: Mapping[str, Any],
    saved: OutputHashes,
    others: OtherRuns,
    before: Before,
    *,
    fresh: bool,
) -> Reuse:
    """Return what happens with the folder of `stage`, in this output or in other runs.

    `covered`: what its fingerprint covers.
    """
    asked = _Asked(plan, stage, covered, digest(covered), fresh, before)
    found = _reuse(asked, saved)
    if found.state in (ReuseState.NEW, ReuseState.AGAIN) and not fresh and not _second_models_again(asked):
        elsewhere = others.find(asked.fingerprint, before.fingerprints)
        if elsewhere is not None:
            where = f"from {shown(elsewhere.folder)}"
            found = replace(found, state=ReuseState.TAKEN_OVER, reason=where, taken_from=elsewhere)
    return replace(found, fingerprint=asked.fingerprint, covered=covered)


def reuse_of_pick(
    plan: Plan,
    stage: Stage,
    covered: Mapping[str, Any],
    saved: OutputHashes,
    *,
    fresh: bool,
    again: Collection[str] = (),
) -> Reuse:
    """Return the same for a stage that takes a variant over.

    Its fingerprint is the variant's once the choice is known.
    """
    record = finished_record(plan.output, stage.name)
    unknown = to_be_picked(covered)
    if record is None:
        return Reuse(fingerprint=unknown, covered=covered)
    if changed := why_picked_anew(record, stage, covered, saved, fresh=fresh, again=again):
        return Reuse(ReuseState.AGAIN, changed, changed, unknown, covered)
    picked, fingerprint = record[PICKED]["variant"], str(record["fingerprint"])
    return Reuse(ReuseState.REUSED, f"picked {picked}", "", fingerprint, covered)


def _elsewhere(asked: _Asked, saved: OutputHashes) -> Reuse | None:
    """Return what happens with a variant under another number or under its stage's name."""
    plan, variant, name = asked.plan, asked.stage.variant, asked.stage.name
    if variant is None or asked.fresh or _second_models_again(asked):
        return None
    found = find_variant(plan.output, variant.of, asked.fingerprint, saved)
    if found is None or in_place(found, plan.output, name):
        return None
    lay = found.folder.name
    if found.is_finished:
        return Reuse(ReuseState.REUSED, f"finished as {lay}", renamed_from=lay)
    if is_trained(found.folder, asked.fingerprint):
        return Reuse(ReuseState.GOES_ON, f"its evaluation, in {lay}")
    step = last_step(found.folder)
    return None if step is None else Reuse(ReuseState.GOES_ON, f"step {step}, in {lay}")


def _reuse(asked: _Asked, saved: OutputHashes) -> Reuse:
    if (elsewhere := _elsewhere(asked, saved)) is not None:
        return elsewhere
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
        changed = ", ".join(_what_changed(record, asked)) or ANEW
    half_made = _half_made(asked)
    if half_made.state is ReuseState.GOES_ON:
        return replace(half_made, changed=changed)
    return Reuse(ReuseState.AGAIN, changed, changed)


def _second_models_again(asked: _Asked) -> list[str]:
    """Return stages that train a model which the stage learns from, and will be trained before it."""
    plan = asked.plan
    models = [second.path for second in second_models_of(plan, asked.stage)]
    return [other.name for other in plan.stages if other.name in models and other.name in asked.before.again]


def _renamed_from(plan: Plan, fingerprint: str, saved: OutputHashes) -> str | None:
    """Return the name of a finished stage with this fingerprint that the plan has renamed, else None.

    Preferably one whose files are as saved; none if other adapters use its weights under that name.
    """
    found = [
        folder.name
        for folder in _no_longer_known(plan)
        if (finished_record(plan.output, folder.name) or {}).get("fingerprint") == fingerprint
        and not _has_dependents(folder)
    ]
    return next(filter(saved.is_as_saved, found), found[0] if found else None)


def left_behind(plan: Plan) -> list[Path]:
    """Return stage folders, finished or not, in the plan's folder that the plan does not have."""
    ours = {partial_folder(plan.output, stage.name) for stage in plan.stages}
    halves = sorted(set(plan.output.glob(".*.partial")) - ours)
    return [*_no_longer_known(plan), *(folder for folder in halves if holds_work(folder))]


def _no_longer_known(plan: Plan) -> Iterator[Path]:
    """Return folders of finished stages whose name the plan does not have."""
    known = {BASE, *(stage.name for stage in plan.stages)}
    for folder in sorted(path.parent for path in plan.output.glob(f"*/{RECORD}")):
        is_stage = not folder.name.startswith(".") and not folder.is_symlink() and not is_set_aside(folder)
        if is_stage and folder.name not in known:
            yield folder


def _has_dependents(folder: Path) -> bool:
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
    if asked.fresh or _second_models_again(asked):
        folder = None  # retrained, or with another fingerprint
    elif is_made_for(partial, fingerprint):
        folder = partial
    else:
        folder = kept_aside(output, stage.name, fingerprint)
    if folder is not None:
        where = "" if folder == partial else f", in {folder.name}"
        if is_trained(folder, fingerprint):
            return Reuse(ReuseState.GOES_ON, f"its evaluation{where}")
        if (step := last_step(folder)) is not None:
            return Reuse(ReuseState.GOES_ON, f"step {step}{where}")
    if folder == partial or not holds_work(partial):
        return Reuse()
    why = ", ".join(_what_changed(read_mark(partial), asked)) or (ANEW if asked.fresh else "")
    return Reuse(reason=f"what is half made is set aside{why and ': '}{why}")


def _what_changed(record: Mapping[str, Any], asked: _Asked) -> list[str]:
    parent, again = asked.stage.parent, asked.before.again
    trained = {stage.name: stage.method.yields for stage in asked.plan.stages}
    kinds = {Yields.REWARD_MODEL: "reward model", Yields.POLICY: "teacher"}
    others = [f"{kinds[trained[name]]} {name} changes" for name in _second_models_again(asked)]
    words = what_changed(record, parent, asked.covered, again=parent in again)
    return [*(_of_part(word, asked) for word in words), *others]


def _of_part(word: str, asked: _Asked) -> str:
    """Return "part 2 changed" of a merge with the name of the part."""
    for number, part in enumerate(asked.stage.merge.parts if asked.stage.merge else (), start=1):
        if word == f"{PART} {number} changed":
            return f"{part.name} {'changes' if part.name in asked.before.again else 'changed'}"
    return word


def what_changed(
    record: Mapping[str, Any], parent: str, covered: Mapping[str, Any], *, again: bool = False
) -> list[str]:
    """Return in words what a stage's fingerprint covers now and did not in `record`.

    `again`: its parent will be trained first.
    """
    verb = "changes" if again else "changed"
    words = changes(record.get("ingredients", {}), covered)
    return [f"{parent} {verb}" if word == "parent changed" else word for word in words]
