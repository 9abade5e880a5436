"""The evaluations of a run: what each is of, which stand in their folders already, what comes of comparing.

Opens no model: what has to be measured is measured by `ptspec.run.evaluate_stage`, here or in a worker.
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
from ptspec.recipe.paths import is_file
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Plan, Stage
from ptspec.recipe.rules import JUDGED
from ptspec.run.measured_order import measured_before, measured_order
from ptspec.store.content_hashes import Hashes, digest, hash_folder
from ptspec.store.fingerprint import evaluation_fingerprint
from ptspec.store.stage_folder import Artifact, open_artifact

REFERENCE = "reference"
"""Below a stage's folder: the evaluation of what it started from, where that is none of the run."""


@dataclass(frozen=True)
class Subject:
    """A policy to measure: its name, the folder to open (None: the bare base), the adapter setup it is opened
    with, and the policy that its preference is relative to: its parent. `method`: what it was trained by."""

    name: str
    artifact: Artifact | None
    adapter: AdapterSpec
    reference: Measurement | None = None
    is_reward_model: bool = False
    method: str | None = None


class Evaluations:
    """The evaluations of a run.

    `measurements` holds them by policy name, in the order they were made; `written` the names of those that
    were written to a folder since the manifest was."""

    def __init__(self, plan: Plan, hashes: Hashes, listener: Listener) -> None:
        self.plan = plan
        self.hashes = hashes
        self.listener = listener
        self.measurements: dict[str, Measurement] = {}
        self.verdicts: dict[str, Mapping[str, Verdict]] = {}
        self.written: set[str] = set()

    def take(self, stage: Stage | None, folder: Path) -> bool:
        """Takes the evaluation that stands in `folder`, if it is of that stage (None: the base) on these
        rows, with these settings, and against this reference; loads no model."""
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
            # The stage had another name: what tells of it is written again, nothing is measured.
            kept = replace(kept, name=subject.name)
            self._write(stage, kept, folder)
        self._take(subject, kept, folder, reused=True)
        return True

    def adopt(self, name: str, folder: Path) -> None:
        """Takes the evaluation that another process of this run wrote to `folder`."""
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
        """Compares what was measured of `subject`, the policy of `stage` (None: the base), with its parent,
        writes it to `folder`, and takes it. `reused`: it was measured under another name."""
        self._compared(subject, measured, folder)
        self._write(stage, measured, folder)
        self._take(subject, measured, folder, reused=reused)

    def _write(self, stage: Stage | None, measured: Measurement, folder: Path) -> None:
        before = measured_before(self.plan, stage)
        earlier = [self.measurements[name] for name in before if name in self.measurements]
        write_evaluation(measured, earlier, folder, _headline(stage), self.spec.samples, self.verdicts)
        self.written.add(measured.name)

    def made(self, stage: Stage | None) -> tuple[Made, ...]:
        """The evaluations so far of what comes before `stage` (None: the base), and where they lie."""
        before = measured_before(self.plan, stage)
        return tuple(Made(name, self._folder_of(name)) for name in before if name in self.measurements)

    def in_order(self) -> dict[str, Measurement]:
        """The measurements in the order of the plan, in whatever order they were made."""
        order = measured_order(self.plan)
        names = sorted(self.measurements, key=lambda name: order.index(name) if name in order else len(order))
        return {name: self.measurements[name] for name in names}

    def show_with_all_before(self, stage: Stage, shown: Sequence[str]) -> bool:
        """Writes the files of the evaluation of `stage` anew once all that comes before it in the plan is
        measured, where it was made beside some of that: with what `shown` names alone. Whether that is so."""
        before = measured_before(self.plan, stage)
        # Its parent is among them always: one that is none of the run was measured with it.
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
        """What the recipe asks to be measured."""
        assert self.plan.evaluation is not None
        return self.plan.evaluation

    def subject(self, stage: Stage | None, folder: Path) -> Subject:
        """The policy of `stage` (None: the base) in `folder`."""
        if stage is None:
            return Subject(BASE, None, self.plan.stages[0].adapter)
        artifact = open_artifact(folder)
        if stage.method.yields is Yields.REWARD_MODEL:
            return Subject(stage.name, artifact, stage.adapter, is_reward_model=True)
        reference, method = self.measurements[stage.parent], stage.method.name
        return Subject(stage.name, artifact, stage.adapter, reference, method=method)

    def outside(self, stage: Stage) -> Subject | None:
        """What `stage` starts from, where that is none of this run and not measured yet."""
        is_measured = stage.parent in self.measurements
        if is_measured or stage.method.yields is Yields.REWARD_MODEL:
            return None
        return Subject(stage.parent, open_artifact(Path(stage.parent)), stage.adapter)

    def judges(self, subject: Subject) -> bool:
        """Whether the responses of `subject` go before the evaluation's judge."""
        asked = self.spec.metrics is None or any(name in JUDGED for name in self.spec.metrics)
        return self.spec.judge is not None and asked and subject.name != BASE and not subject.is_reward_model

    def fingerprint(self, subject: Subject) -> str:
        """What a measurement of `subject` depends on, as one hash."""
        asked = evaluation_fingerprint(self.plan, self.spec, self.hashes)
        weights = hash_folder(subject.artifact.folder) if subject.artifact else self.hashes.model()
        others = [subject.reference, self.measurements.get(BASE) if self.judges(subject) else None]
        return digest([asked, weights, *(other.fingerprint if other else None for other in others)])

    def _folder_of(self, name: str) -> Path:
        """Where the evaluation `name` lies: of what is none of this run, beside the first stage from it."""
        for stage in self.plan.stages:
            if stage.parent == name and (self.plan.output / stage.name / REFERENCE).is_dir():
                return self.plan.output / stage.name / REFERENCE
        return self.plan.output / name

    def _take(self, subject: Subject, measured: Measurement, folder: Path, *, reused: bool = False) -> None:
        """Takes a measurement that lies in `folder` among those of the run, with what it is against its
        parent."""
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
        """The paired comparison with the parent, made once and kept beside the evaluation."""
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
        """The measurement in `folder` if it is of these very rows, settings and reference."""
        try:
            found = store.load_measurement(folder)
        except InputError:
            return None
        return found if found.fingerprint == self.fingerprint(subject) else None


def _headline(stage: Stage | None) -> tuple[Headline, ...]:
    """What is drawn of the training of `stage`."""
    if stage is None or stage.method.yields is Yields.REWARD_MODEL:
        return ()
    return stage.method.headline
