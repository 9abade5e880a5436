"""Measures policies from their folders and leaves the evaluation beside them. Trains nothing.

What is measured is what was saved: a stage's folder is opened anew over the shared base, as anyone would.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import LEFT_OUT, Loading, load_evaluation, strings_in, write_left_out
from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import InputError
from ptspec.evaluation import store
from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.comparison_store import comparison_of, load_comparison, save_comparison
from ptspec.evaluation.files import write_evaluation
from ptspec.evaluation.judging import Referee, judged
from ptspec.evaluation.measure import keys_of, measure
from ptspec.evaluation.measurement import DataStamp, Measurement, trained_by
from ptspec.evaluation.reward_model import measure_pairs
from ptspec.events import EvaluationStarted, Listener, StageEvaluated, Warned
from ptspec.methods.types import Headline, Yields
from ptspec.model.model_cache import Bases
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Plan, Source, Stage
from ptspec.recipe.rules import JUDGED
from ptspec.rewards.build import OpenModel, no_model, reward_functions
from ptspec.rewards.build import judge as judge_named
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.models import open_reward_model
from ptspec.store.fingerprint import Hashes, digest, evaluation_fingerprint, hash_folder
from ptspec.store.stage_folder import Artifact, open_artifact
from ptspec.training.row_templates import refusal


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
    `written` the names of those that were written to a folder, for whoever keeps book of that."""

    def __init__(
        self,
        plan: Plan,
        bases: Bases,
        hashes: Hashes,
        listener: Listener,
        open_model: OpenModel,
        allow_code: bool = False,
    ) -> None:
        self.plan = plan
        self.allow_code = allow_code
        self.bases = bases
        self.hashes = hashes
        self.listener = listener
        self.open_model = open_model
        self.measurements: dict[str, Measurement] = {}
        self.written: set[str] = set()
        self._judge: Referee | None = None
        self._rows: list[EvaluationRow] | None = None

    def base(self) -> None:
        """Measures the base model into `base/`, unless that stands there already."""
        folder = self.plan.output / BASE
        folder.mkdir(exist_ok=True)
        self._evaluate(Subject(BASE, None, self.plan.stages[0].adapter), folder)

    def stage(self, stage: Stage, folder: Path) -> None:
        """Measures the policy in `folder` and leaves the six files there, unless they stand there already."""
        if stage.name in self.measurements:
            return
        if stage.method.yields is Yields.REWARD_MODEL:
            self._evaluate(
                Subject(stage.name, open_artifact(folder), stage.adapter, is_reward_model=True), folder
            )
            return
        reference, method = self._reference(stage), stage.method.name
        subject = Subject(stage.name, open_artifact(folder), stage.adapter, reference, method=method)
        self._evaluate(subject, folder, headline=stage.method.headline)

    def _reference(self, stage: Stage) -> Measurement | None:
        if stage.parent in self.measurements:
            return self.measurements[stage.parent]
        outside = Subject(stage.parent, open_artifact(Path(stage.parent)), stage.adapter)
        self.measurements[stage.parent] = self._measure(outside, self._spec)
        return self.measurements[stage.parent]

    @property
    def _spec(self) -> EvaluationSpec:
        assert self.plan.evaluation is not None
        return self.plan.evaluation

    def _evaluate(self, subject: Subject, folder: Path, headline: tuple[Headline, ...] = ()) -> None:
        kept = self._kept(subject, folder)
        measured = trained_by(kept or self._measure(subject, self._spec), subject.method)
        self.measurements[subject.name] = measured
        if kept is None:
            self._write(measured, folder, headline)
            self.written.add(subject.name)
        compared = self._compared(subject, measured, folder)
        self.listener(
            StageEvaluated(
                subject.name,
                measured.shown,
                measured.seconds,
                reused=kept is not None,
                comparison=compared.of_stage() if compared else None,
                preference_over=measured.preference_over,
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
        return compared

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
        self.listener(EvaluationStarted(subject.name, len(rows)))
        if subject.is_reward_model:
            return self._measure_pairs(subject, rows)
        model, base = self.bases.open(subject.adapter, subject.artifact)
        untrained = self.bases.open(subject.adapter, None)[0] if subject.artifact else None
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
            base_name=shown(Path(self.plan.model.path)) if self.plan.model.local else self.plan.model.path,
            data=self._stamp(len(rows)),
        )
        if spec.lm_eval is not None:
            # Imported here: an optional extra.
            from ptspec.evaluation.harness import measure_tasks

            told = measure_tasks(model, base.tokenizer, spec.lm_eval, seed=self.plan.seed)
            measured = replace(
                measured, metrics={**measured.metrics, **told.figures}, documents=told.documents
            )
        del model, untrained
        self.bases.release()
        if self._judges(subject):
            measured = judged(self._referee, measured, subject.reference, self.measurements.get(BASE))
        return replace(measured, fingerprint=self._fingerprint(subject))

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
            )
            rows = dict(zip(keys_of(self.rows()), self.rows(), strict=True))
            self._judge = Referee(self._spec.judge, made, rows)
        return self._judge

    def _measure_pairs(self, subject: Subject, rows: list[EvaluationRow]) -> Measurement:
        assert subject.artifact is not None
        base = self.bases.get(subject.adapter)
        path = str(subject.artifact.folder)
        model = open_reward_model(path, self.bases.device, at=self._spec.at, base=base)
        stamp = self._stamp(len(rows))
        # The rows are in the form that the model sees already.
        measured = measure_pairs(
            replace(model, chat=False), rows, seed=self.plan.seed, name=subject.name, data=stamp
        )
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
            warn=lambda text: self.listener(Warned(text)),
        )
        return dict(zip(names, made, strict=True))

    def rows(self) -> list[EvaluationRow]:
        if self._rows is None:
            loading = Loading(Use("eval", None), refusal(self.bases.tokenizer))
            self._rows = load_evaluation(self.plan.data, self._spec.data, loading)
            if loading.left_out:
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
        write_evaluation(measured, earlier, folder, headline, self._spec.samples)
