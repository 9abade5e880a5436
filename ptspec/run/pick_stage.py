"""Handle matrices: renumber variants and pick the one that later stages use. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ptspec.diagnostics import CheckError, Diagnostic, Location
from ptspec.evaluation.comparison_store import load_selection, save_selection, selection_json
from ptspec.evaluation.selection import Selection, Variant
from ptspec.events import (
    CheckedBound,
    CheckEvaluated,
    Listener,
    StageFinished,
    StagePicked,
    StageReused,
    Warned,
)
from ptspec.recipe.plan import OnFail, PickSpec, Plan, Stage
from ptspec.run.evaluations import Evaluations
from ptspec.run.options import Options
from ptspec.run.stage_folders import StageFolders
from ptspec.store.content_hashes import Hashes, digest
from ptspec.store.fingerprint import ingredients, parent_fingerprint
from ptspec.store.picked import choice_covered, take_over
from ptspec.store.reuse import Reuse, ReuseState, reuse_of_pick
from ptspec.store.stage_folder import PICKED, finished_record, partial_folder, publish, recover
from ptspec.store.variant_folders import find_variant, renumber


@dataclass
class Matrices:
    """The matrices of a run. `fingerprints`: those of the stages so far, by name."""

    plan: Plan
    hashes: Hashes
    folders: StageFolders
    evaluations: Evaluations
    fingerprints: dict[str, str]
    options: Options
    listener: Listener

    def number(self, stage: Stage) -> None:
        """Rename existing variants of a matrix to their current numbers, before its first one starts."""
        variant = stage.variant
        if variant is None or variant.number > 1 or self.options.fresh:
            return
        together = [one for one in self.plan.stages if one.variant and one.variant.of == variant.of]
        wanted = {}
        for one in together:
            recover(self.plan.output / one.name)
            parent = parent_fingerprint(one, self.fingerprints, self.hashes)
            wanted[one.name] = digest(ingredients(self.plan, one, parent, self.hashes))
        for text in renumber(self.plan.output, variant.of, wanted, self.folders.hashes):
            self.listener(Warned(f"{text}: nothing else of it has changed", variant.of))

    def pick(self, stage: Stage, pick: PickSpec) -> None:
        """Make `stage` take over the variant that its pick chooses, unless it has already.

        Raises `CheckError` if no variant passes the checks.
        """
        final = self.plan.output / stage.name
        recover(final)
        covered = choice_covered(self.plan, pick, self.fingerprints, self.hashes)
        reuse = reuse_of_pick(self.plan, stage, covered, self.folders.hashes, fresh=self.options.fresh)
        selection = load_selection(final) if reuse.state is ReuseState.REUSED else None
        if selection is not None and self.evaluations.take(stage, final):
            self.fingerprints[stage.name] = reuse.fingerprint
            finished = (finished_record(self.plan.output, stage.name) or {}).get("finished")
            self.listener(StageReused(stage.name, str(finished)))
            self._tell(selection)
            return
        selection = self._selected(stage, pick)
        self._take_over(stage, selection, reuse, covered)
        self.folders.hashes.written(stage.name)
        self._tell(selection)

    def _selected(self, stage: Stage, pick: PickSpec) -> Selection:
        # Imported here: NumPy is not needed if everything is finished.
        from ptspec.evaluation.paired.select import look_at, select

        variants = [one for one in self.plan.stages if one.name in pick.variants]
        measured = self.evaluations.measurements
        found = select(stage, pick, variants, measured, seed=self.plan.seed)
        if found is not None:
            return found
        looked = look_at(pick, variants, measured)
        text = f"none of {len(looked)} variants keeps the checks"
        stops = OnFail.WARN if self.options.ignore_checks else OnFail.STOP
        self.listener(CheckEvaluated(stage.name, text, False, stops.value))
        if self.options.ignore_checks:
            found = select(stage, replace(pick, keep=()), variants, measured, seed=self.plan.seed)
        if found is None:
            raise CheckError(_none_kept(self.plan, stage, pick, looked))
        return found

    def _take_over(
        self, stage: Stage, selection: Selection, reuse: Reuse, covered: Mapping[str, Any]
    ) -> None:
        output, name = self.plan.output, stage.name
        fingerprint = self.fingerprints[selection.picked]
        partial, final = partial_folder(output, name), output / name
        if PICKED not in (finished_record(output, partial.name) or {}):
            self.folders.half_made_aside(stage, "it took nothing over")
        picked = {"variant": selection.picked, "metric": selection.metric, "covered": covered}
        take_over(output / selection.picked, partial, name, picked)
        measured = replace(self.evaluations.measurements[selection.picked], name=name)
        subject = self.evaluations.subject(stage, partial)
        self.evaluations.add(stage, subject, measured, partial, reused=True)
        save_selection(partial, selection)
        self._set_aside(stage, fingerprint)
        publish(partial, final)
        self.fingerprints[name] = fingerprint
        self.listener(StageFinished(name, str(final)))

    def _set_aside(self, stage: Stage, fingerprint: str) -> None:
        """Set aside what was finished as `stage`, unless it is a second name of an unchanged variant."""
        before = finished_record(self.plan.output, stage.name) or {}
        kept = str(before.get("fingerprint"))
        if not before:
            return
        if PICKED in before and not self.options.fresh:
            found = find_variant(self.plan.output, stage.name, kept, self.folders.hashes)
            if found is not None and found.is_finished and not found.is_picked:
                return
        self.folders.finished_aside(stage, fingerprint)

    def _tell(self, selection: Selection) -> None:
        self.listener(StagePicked(selection.stage, selection.picked, selection_json(selection)))


def _none_kept(plan: Plan, stage: Stage, pick: PickSpec, looked: Sequence[Variant]) -> Diagnostic:
    notes = tuple(f"{one.name}: {_why_not(pick, one)}" for one in looked)
    return Diagnostic(
        "none-kept",
        f'stage "{stage.name}": none of {len(looked)} variants keeps the checks; nothing is handed on',
        Location(str(plan.recipe)),
        pick.at,
        "other values in the matrix, or other bounds in keep",
        (*notes, "the variants are kept: the same command picks again by other bounds, and trains nothing"),
    )


def _why_not(pick: PickSpec, variant: Variant) -> str:
    missing = () if variant.value is not None else (f"{pick.metric} was not measured",)
    return "; ".join((*missing, *variant.reasons, *map(_missed, variant.misses))) or "keeps them"


def _missed(bound: CheckedBound) -> str:
    """Return "perplexity over sft 0.31 ≤ 0.1, missed by 0.21"."""
    asked = bound.value if bound.end is None else bound.end
    what = bound.metric if bound.over is None else f"{bound.metric} over {bound.over}"
    with_confidence = "" if bound.end is None else f" with {bound.confidence or 0:.0%} confidence"
    by = abs(asked - bound.bound)
    return f"{what} {asked:.4g}{with_confidence} {bound.relation} {bound.bound:g}, missed by {by:.2g}"
