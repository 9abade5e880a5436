"""Measures policies from their folders and leaves the evaluation beside them. Trains nothing.

What is measured is what was saved: a stage's folder is opened anew over the shared base, as anyone would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading, load_evaluation, strings_in
from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.left_out import LEFT_OUT, write_left_out
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import InputError
from ptspec.evaluation import store
from ptspec.evaluation.comparison import Comparison, Verdict
from ptspec.evaluation.comparison_store import comparison_of, load_comparison, save_comparison
from ptspec.evaluation.files import write_evaluation
from ptspec.evaluation.judging import Referee, judged
from ptspec.evaluation.measure import keys_of, measure
from ptspec.evaluation.measurement import DataStamp, Measurement, trained_by
from ptspec.evaluation.reward_model import measure_pairs
from ptspec.events import EvaluationProgress, EvaluationStarted, Listener, StageEvaluated, Warned
from ptspec.launch.job import Made
from ptspec.methods.types import Headline, Yields
from ptspec.model.model_cache import Bases
from ptspec.processes import current
from ptspec.recipe.paths import is_file
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Plan, Source, Stage
from ptspec.recipe.rules import JUDGED
from ptspec.rewards.build import OpenModel, no_model, reward_functions
from ptspec.rewards.build import judge as judge_named
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.models import open_reward_model
from ptspec.run.answering import Answering
from ptspec.run.measured_order import measured_before, measured_order
from ptspec.run.needs import Needs, needs_base
from ptspec.store.fingerprint import Hashes, digest, evaluation_fingerprint, hash_folder
from ptspec.store.stage_folder import Artifact, open_artifact
from ptspec.training.row_templates import refusal

if TYPE_CHECKING:
    from ptspec.evaluation.served import Served

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


class StageEvaluator:
    """The evaluations of a run. `measurements` holds them by policy name, in the order they were made;
    `written` the names of those that were written to a folder since the manifest was."""

    def __init__(
        self,
        plan: Plan,
        bases: Bases,
        needs: Needs,
        hashes: Hashes,
        listener: Listener,
        open_model: OpenModel,
        allow_code: bool = False,
    ) -> None:
        self.plan = plan
        self.allow_code = allow_code
        self.bases = bases
        self.needs = needs
        self.hashes = hashes
        self.listener = listener
        self.open_model = open_model
        self.measurements: dict[str, Measurement] = {}
        self.verdicts: dict[str, Mapping[str, Verdict]] = {}
        self.written: set[str] = set()
        self._answering = Answering(plan, self._warn)
        self._judge: Referee | None = None
        self._told: set[str] = set()
        self._rows: list[EvaluationRow] | None = None

    def take(self, stage: Stage | None, folder: Path) -> bool:
        """Takes the evaluation that stands in `folder`, if it is of that stage (None: the base) on these
        rows, with these settings, and against this reference; loads no model."""
        name = stage.name if stage is not None else BASE
        if name in self.measurements:
            return True
        if stage is not None and (outside := self._outside(stage)) is not None:
            known = self._kept(outside, folder / REFERENCE)
            if known is None:
                return False
            self.measurements[outside.name] = known
        subject = self._subject(stage, folder)
        kept = self._kept(subject, folder)
        if kept is None:
            return False
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
        write_evaluation(measured, earlier, folder, _headline(stage), self._spec.samples, self.verdicts)
        self.written.add(stage.name)
        return True

    def evaluate(self, stage: Stage | None, folder: Path) -> None:
        """Measures the policy of `stage` (None: the base) in `folder` and leaves its files there, unless it
        is measured already."""
        if (stage.name if stage is not None else BASE) in self.measurements:
            return
        self.bases.keep(self.needs.from_evaluation(stage))
        if stage is not None and (outside := self._outside(stage)) is not None:
            measured = self.measurements[outside.name] = self._measure(outside, self._spec)
            if current().is_first:
                (folder / REFERENCE).mkdir(exist_ok=True)
                store.write(folder / REFERENCE, measured, samples=self._spec.samples)
        subject = self._subject(stage, folder)
        measured = trained_by(self._measure(subject, self._spec), subject.method)
        if not current().is_first:
            self.measurements[subject.name] = measured
            return
        self._compared(subject, measured, folder)
        self._write(measured, folder, _headline(stage))
        self.written.add(subject.name)
        self._take(subject, measured, folder)

    def _subject(self, stage: Stage | None, folder: Path) -> Subject:
        if stage is None:
            return Subject(BASE, None, self.plan.stages[0].adapter)
        artifact = open_artifact(folder)
        if stage.method.yields is Yields.REWARD_MODEL:
            return Subject(stage.name, artifact, stage.adapter, is_reward_model=True)
        reference, method = self.measurements[stage.parent], stage.method.name
        return Subject(stage.name, artifact, stage.adapter, reference, method=method)

    def _outside(self, stage: Stage) -> Subject | None:
        """What `stage` starts from, where that is none of this run and not measured yet."""
        is_measured = stage.parent in self.measurements
        if is_measured or stage.method.yields is Yields.REWARD_MODEL:
            return None
        return Subject(stage.parent, open_artifact(Path(stage.parent)), stage.adapter)

    def _folder_of(self, name: str) -> Path:
        """Where the evaluation `name` lies: of what is none of this run, beside the first stage from it."""
        for stage in self.plan.stages:
            if stage.parent == name and (self.plan.output / stage.name / REFERENCE).is_dir():
                return self.plan.output / stage.name / REFERENCE
        return self.plan.output / name

    @property
    def _spec(self) -> EvaluationSpec:
        assert self.plan.evaluation is not None
        return self.plan.evaluation

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
        return found if found.fingerprint == self._fingerprint(subject) else None

    def _fingerprint(self, subject: Subject) -> str:
        asked = evaluation_fingerprint(self.plan, self._spec, self.hashes)
        weights = hash_folder(subject.artifact.folder) if subject.artifact else self.hashes.model()
        others = [subject.reference, self.measurements.get(BASE) if self._judges(subject) else None]
        return digest([asked, weights, *(other.fingerprint if other else None for other in others)])

    def _measure(self, subject: Subject, spec: EvaluationSpec) -> Measurement:
        rows = self.rows()
        if subject.is_reward_model:
            self.listener(EvaluationStarted(subject.name, len(rows)))
            return self._measure_pairs(subject, rows)
        with self._answering.for_policy(subject.name, subject.artifact, subject.adapter) as served:
            by = served.words if served is not None else ""
            self.listener(EvaluationStarted(subject.name, len(rows), by))
            measured = self._measure_policy(subject, spec, rows, served)
        self.bases.release()
        if self._judges(subject):
            self._tell_progress(subject.name, "comparisons by the judge")
            own, base_measured = measured, self.measurements.get(BASE)
            measured = current().by_first(
                lambda: judged(self._referee, own, subject.reference, base_measured)
            )
        return replace(measured, fingerprint=self._fingerprint(subject))

    def _measure_policy(
        self, subject: Subject, spec: EvaluationSpec, rows: list[EvaluationRow], served: Served | None
    ) -> Measurement:
        """All but what a judge says."""
        model, base = self.bases.open(subject.adapter, subject.artifact)
        is_compared = subject.artifact is not None and needs_base(spec)
        untrained = self.bases.open(subject.adapter, None)[0] if is_compared else None
        measured = measure(
            model,
            base.tokenizer,
            rows,
            spec,
            seed=self.plan.seed,
            name=subject.name,
            rewards=self._rewards,
            reference=subject.reference,
            base=untrained,
            base_name=shown(Path(self.plan.model.path)),
            data=self._stamp(len(rows)),
            progress=partial(self._tell_progress, subject.name),
            warn=self._warn,
            served=served,
        )
        if spec.lm_eval is not None:
            # Imported here: an optional extra.
            from ptspec.evaluation.harness import measure_tasks

            self._tell_progress(subject.name, "tasks of lm_eval")
            asked = partial(measure_tasks, model, base.tokenizer, spec.lm_eval, seed=self.plan.seed)
            told = current().by_first(asked)
            del asked
            measured = replace(
                measured, metrics={**measured.metrics, **told.figures}, documents=told.documents
            )
        return measured

    def _judges(self, subject: Subject) -> bool:
        """Whether the responses of `subject` go before the evaluation's judge."""
        asked = self._spec.metrics is None or any(name in JUDGED for name in self._spec.metrics)
        return self._spec.judge is not None and asked and subject.name != BASE and not subject.is_reward_model

    @property
    def _referee(self) -> Referee:
        if self._judge is None:
            assert self._spec.judge is not None
            made = judge_named(
                self.plan,
                self._spec.judge,
                strings=strings_in(self.plan.data[self._spec.data], self.plan.data),
                allow_code=self.allow_code,
                open_model=self.open_model,
                warn=self._warn,
            )
            rows = dict(zip(keys_of(self.rows()), self.rows(), strict=True))
            self._judge = Referee(self._spec.judge, made, rows)
        return self._judge

    def _measure_pairs(self, subject: Subject, rows: list[EvaluationRow]) -> Measurement:
        assert subject.artifact is not None
        path, below = str(subject.artifact.folder), self.bases.below(subject.adapter)
        stamp = self._stamp(len(rows))

        def measured_pairs() -> Measurement:
            model = open_reward_model(path, self.bases.device, at=self._spec.at, below=below)
            # The rows are in the form that the model sees already.
            return measure_pairs(
                replace(model, chat=False), rows, seed=self.plan.seed, name=subject.name, data=stamp
            )

        measured = current().by_first(measured_pairs)
        return replace(measured, fingerprint=self._fingerprint(subject))

    @property
    def _rewards(self) -> dict[str, RewardFunction]:
        """The recipe's reward functions by name. A reward model is not among them: what has been trained to
        please it should not be measured by it."""
        names = [name for name, spec in self.plan.rewards.items() if spec.function is not None]
        made = reward_functions(
            self.plan,
            names,
            strings=False,
            allow_code=self.allow_code,
            open_model=no_model,
            warn=self._warn,
        )
        return dict(zip(names, made, strict=True))

    def _tell_progress(self, name: str, what: str, done: int = 0, total: int = 0) -> None:
        self.listener(EvaluationProgress(name, what, done, total))

    def _warn(self, text: str) -> None:
        """Once in a run: each policy is measured on the same rows."""
        if text not in self._told:
            self._told.add(text)
            self.listener(Warned(text))

    def rows(self) -> list[EvaluationRow]:
        if self._rows is None:
            loading = Loading(Use("eval", None), refusal(self.bases.tokenizer))
            self._rows = load_evaluation(self.plan.data, self._spec.data, loading)
            if loading.left_out and current().is_first:
                write_left_out(loading.left_out, self.plan.output)
                text = f"{len(loading.left_out):,} held-out rows are left out, listed in {LEFT_OUT}"
                self.listener(Warned(text))
            self.hashes.must_be_unchanged(self._spec.data)
        return self._rows

    def _stamp(self, rows: int) -> DataStamp:
        source = self.plan.data[self._spec.data]
        files = [shown(path) for path in source.paths] if isinstance(source, Source) else []
        return DataStamp(", ".join(files) or source.name, digest(self.hashes.source(source.name)), rows)

    def _write(self, measured: Measurement, folder: Path, headline: tuple[Headline, ...]) -> None:
        earlier = [other for name, other in self.measurements.items() if name != measured.name]
        write_evaluation(measured, earlier, folder, headline, self._spec.samples, self.verdicts)


def _headline(stage: Stage | None) -> tuple[Headline, ...]:
    """What is drawn of the training of `stage`."""
    if stage is None or stage.method.yields is Yields.REWARD_MODEL:
        return ()
    return stage.method.headline
