"""The evaluations of a run: their subjects, stored results, and comparisons.

Opens no model: `ptspec.run.evaluate_stage` measures, here or in a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ptspec.diagnostics import InputError
from ptspec.evaluation import store
from ptspec.evaluation.comparison import Comparison, Verdict
from ptspec.evaluation.comparison_store import comparison_of, load_comparison, save_comparison
from ptspec.evaluation.files import write_evaluation
from ptspec.evaluation.measurement import Measurement, trained_by
from ptspec.events import Listener, StageEvaluated
from ptspec.launch.job import Made
from ptspec.methods.types import Headline, Yields
from ptspec.metrics import JUDGED
from ptspec.recipe.paths import is_file
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Plan, Stage
from ptspec.run.measured_order import measured_before, measured_order
from ptspec.store.content_hashes import Hashes, digest, hash_folder
from ptspec.store.fingerprint import evaluation_fingerprint
from ptspec.store.stage_folder import Artifact, open_artifact

REFERENCE = "reference"
"""Folder below a stage's: the evaluation of its start model, if that is outside the run."""


@dataclass(frozen=True)
class Subject:
    """A policy to measure.

    Its name, its folder (None: the bare base), the adapter setup to open it with, and the parent that its
    preference is relative to. `method`: the method that trained it.
    """

    name: str
    artifact: Artifact | None
    adapter: AdapterSpec
    reference: Measurement | None = None
    is_reward_model: bool = False
    method: str | None = None


class Evaluations:
    """The evaluations of a run.

    `measurements` by policy name, in the order they were made; `written`: names written to a folder since the
    last manifest.
    """

    def __init__(self, plan: Plan, hashes: Hashes, listener: Listener) -> None:
        self.plan = plan
        self.hashes = hashes
        self.listener = listener
        self.measurements: dict[str, Measurement] = {}
        self.verdicts: dict[str, Mapping[str, Verdict]] = {}
        self.written: set[str] = set()

    def take(self, stage: Stage | None, folder: Path) -> bool:
        """Take the stored evaluation in `folder` if it matches; loads no model.

        It must be of this stage (None: the base), on these rows, with these settings, against this reference.
        Returns whether it does.
        """
        name = stage.name if stage is not None else BASE
        if name in self.measurements:
            return True
        if stage is not None and (outside := self.outside(stage)) is not None:
            known = self._kept(outside, folder / REFERENCE)
            if known is None:
                return False
            self.measurements[outside.name] = known
        subject = self.subject(stage, folder)
        kept = self._kept(subject, folder)
        if kept is None:
            return False
        if kept.name != subject.name:
            # The stage had another name: rewrite its files without measuring.
            kept = replace(kept, name=subject.name)
            self._write(stage, kept, folder)
        self._take(subject, kept, folder, reused=True)
        return True

    def adopt(self, name: str, folder: Path) -> None:
        """Take the evaluation that another process of this run wrote to `folder`."""
        if name in self.measurements:
            return
        if is_file(folder / REFERENCE / store.STATS):
            parent = store.load_measurement(folder / REFERENCE)
            self.measurements.setdefault(parent.name, parent)
        self.measurements[name] = store.load_measurement(folder)
        self._keep_verdicts(name, load_comparison(folder))
        self.written.add(name)

    def add(
        self,
        stage: Stage | None,
        subject: Subject,
        measured: Measurement,
        folder: Path,
        *,
        reused: bool = False,
    ) -> None:
        """Compare a measurement of `subject` with its parent, write it to `folder`, and take it.

        `stage` is the subject's stage (None: the base). `reused`: it was measured under another name.
        """
        self._compared(subject, measured, folder)
        self._write(stage, measured, folder)
        self._take(subject, measured, folder, reused=reused)

    def _write(self, stage: Stage | None, measured: Measurement, folder: Path) -> None:
        before = measured_before(self.plan, stage)
        earlier = [self.measurements[name] for name in before if name in self.measurements]
        write_evaluation(measured, earlier, folder, _headline(stage), self.spec.samples, self.verdicts)
        self.written.add(measured.name)

    def made(self, stage: Stage | None) -> tuple[Made, ...]:
        """Return the evaluations so far of what precedes `stage` (None: the base), with their folders."""
        before = measured_before(self.plan, stage)
        return tuple(Made(name, self._folder_of(name)) for name in before if name in self.measurements)

    def in_order(self) -> dict[str, Measurement]:
        """Return the measurements in the order of the plan."""
        order = measured_order(self.plan)
        names = sorted(self.measurements, key=lambda name: order.index(name) if name in order else len(order))
        return {name: self.measurements[name] for name in names}

    def show_with_all_before(self, stage: Stage, shown: Sequence[str]) -> bool:
        """Rewrite a stage's evaluation files once everything before it is measured; return whether it did.

        Needed if it was measured in parallel with some of that; `shown` are the names its files contain.
        """
        before = measured_before(self.plan, stage)
        # Its parent is always among them: one from outside the run was measured with it.
        if set(before) <= {*shown, stage.parent}:
            return True
        if not {*before, stage.name} <= self.measurements.keys():
            return False
        earlier = [self.measurements[name] for name in before]
        measured, folder = self.measurements[stage.name], self.plan.output / stage.name
        write_evaluation(measured, earlier, folder, _headline(stage), self.spec.samples, self.verdicts)
        self.written.add(stage.name)
        return True

    @property
    def spec(self) -> EvaluationSpec:
        """The recipe's `eval` section."""
        assert self.plan.evaluation is not None
        return self.plan.evaluation

    def subject(self, stage: Stage | None, folder: Path) -> Subject:
        """Return the policy of `stage` (None: the base) in `folder`."""
        if stage is None:
            return Subject(BASE, None, self.plan.stages[0].adapter)
        artifact = open_artifact(folder)
        if stage.method.yields is Yields.REWARD_MODEL:
            return Subject(stage.name, artifact, stage.adapter, is_reward_model=True)
        reference, method = self.measurements[stage.parent], stage.method.name
        return Subject(stage.name, artifact, stage.adapter, reference, method=method)

    def outside(self, stage: Stage) -> Subject | None:
        """Return the start model of `stage` if it is outside the run and not measured yet."""
        is_measured = stage.parent in self.measurements
        if is_measured or stage.method.yields is Yields.REWARD_MODEL:
            return None
        return Subject(stage.parent, open_artifact(Path(stage.parent)), stage.adapter)

    def judges(self, subject: Subject) -> bool:
        """Return whether the evaluation's judge compares the responses of `subject`."""
        asked = self.spec.metrics is None or any(name in JUDGED for name in self.spec.metrics)
        return self.spec.judge is not None and asked and subject.name != BASE and not subject.is_reward_model

    def fingerprint(self, subject: Subject) -> str:
        """Return the hash of what a measurement of `subject` depends on."""
        asked = evaluation_fingerprint(self.plan, self.spec, self.hashes)
        weights = hash_folder(subject.artifact.folder) if subject.artifact else self.hashes.model()
        others = [subject.reference, self.measurements.get(BASE) if self.judges(subject) else None]
        return digest([asked, weights, *(other.fingerprint if other else None for other in others)])

    def _folder_of(self, name: str) -> Path:
        """Return the folder of the evaluation `name`; of an outside model, beside its first stage."""
        for stage in self.plan.stages:
            if stage.parent == name and (self.plan.output / stage.name / REFERENCE).is_dir():
                return self.plan.output / stage.name / REFERENCE
        return self.plan.output / name

    def _take(self, subject: Subject, measured: Measurement, folder: Path, *, reused: bool = False) -> None:
        """Take the measurement in `folder`, with its comparison with the parent."""
        measured = self.measurements[subject.name] = trained_by(measured, subject.method)
        compared = self._compared(subject, measured, folder)
        self.listener(
            StageEvaluated(
                subject.name,
                measured.shown,
                measured.seconds,
                reused=reused,
                comparison=compared.of_stage() if compared else None,
                preference_over=measured.preference_over,
                accuracy=measured.settings.accuracy_in_words,
            )
        )

    def _compared(self, subject: Subject, measured: Measurement, folder: Path) -> Comparison | None:
        """Return the paired comparison with the parent, computed once and stored."""
        if subject.reference is None:
            return None
        stored = load_comparison(folder)
        compared = comparison_of(subject.reference, measured, stored)
        if compared is not None and compared is not stored:
            save_comparison(folder, compared)
            self.written.add(subject.name)
        self._keep_verdicts(subject.name, compared)
        return compared

    def _keep_verdicts(self, name: str, compared: Comparison | None) -> None:
        if compared is not None:
            self.verdicts[name] = compared.verdicts()

    def _kept(self, subject: Subject, folder: Path) -> Measurement | None:
        """Return the measurement in `folder` if rows, settings and reference are the same."""
        try:
            found = store.load_measurement(folder)
        except InputError:
            return None
        return found if found.fingerprint == self.fingerprint(subject) else None


def _headline(stage: Stage | None) -> tuple[Headline, ...]:
    """Return the training curve to plot for `stage`."""
    if stage is None or stage.method.yields is Yields.REWARD_MODEL:
        return ()
    return stage.method.headline
