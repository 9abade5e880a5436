"""Measure policies from their folders and write the evaluation beside them. Trains nothing.

The saved folder is opened anew over the shared base, as a user would open it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ptspec.data.checks.row_checks import Use
from ptspec.data.dataset import Loading, load_evaluation, strings_in
from ptspec.data.layouts.evaluation import EvaluationRow
from ptspec.data.left_out import LEFT_OUT, write_left_out
from ptspec.data.readers.placed import shown
from ptspec.evaluation import store
from ptspec.evaluation.judging import NamedJudge, judged
from ptspec.evaluation.measure import keys_of, measure
from ptspec.evaluation.measurement import DataStamp, Measurement, trained_by
from ptspec.evaluation.reward_model import measure_pairs
from ptspec.events import EvaluationProgress, EvaluationStarted, Listener, Warned
from ptspec.model.model_cache import Bases
from ptspec.processes import current
from ptspec.recipe.plan import BASE, EvaluationSpec, Plan, Stage
from ptspec.recipe.sources import Source
from ptspec.rewards.build import OpenModel, measured_functions
from ptspec.rewards.build import judge as judge_named
from ptspec.rewards.builtin import RewardFunction
from ptspec.rewards.models import open_reward_model
from ptspec.run.answering import Answering
from ptspec.run.evaluations import REFERENCE, Evaluations, Subject
from ptspec.run.needs import Needs, needs_base
from ptspec.store.content_hashes import digest
from ptspec.training.row_templates import refusal

if TYPE_CHECKING:
    from ptspec.evaluation.served import Served


class StageEvaluator:
    """Measures policies and stores the results in `evaluations`."""

    def __init__(
        self,
        plan: Plan,
        bases: Bases,
        needs: Needs,
        evaluations: Evaluations,
        listener: Listener,
        open_model: OpenModel,
        allow_code: bool = False,
    ) -> None:
        self.plan = plan
        self.allow_code = allow_code
        self.bases = bases
        self.needs = needs
        self.evaluations = evaluations
        self.hashes = evaluations.hashes
        self.listener = listener
        self.open_model = open_model
        self._answering = Answering(plan, self._warn)
        self._judge: NamedJudge | None = None
        self._told: set[str] = set()
        self._rows: list[EvaluationRow] | None = None

    def evaluate(self, stage: Stage | None, folder: Path) -> None:
        """Measure the policy of `stage` (None: the base) in `folder`, unless it is measured already."""
        known = self.evaluations
        if (stage.name if stage is not None else BASE) in known.measurements:
            return
        self.bases.keep(self.needs.from_evaluation(stage))
        if stage is not None and (outside := known.outside(stage)) is not None:
            measured = known.measurements[outside.name] = self._measure(outside, known.spec)
            if current().is_first:
                (folder / REFERENCE).mkdir(exist_ok=True)
                store.write(folder / REFERENCE, measured, samples=known.spec.samples)
        subject = known.subject(stage, folder)
        measured = trained_by(self._measure(subject, known.spec), subject.method)
        if current().is_first:
            known.add(stage, subject, measured, folder)
        else:
            known.measurements[subject.name] = measured

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
        if self.evaluations.judges(subject):
            self._tell_progress(subject.name, "comparisons by the judge")
            own, base_measured = measured, self.evaluations.measurements.get(BASE)
            measured = current().by_first(
                lambda: judged(self._referee, own, subject.reference, base_measured)
            )
        return replace(measured, fingerprint=self.evaluations.fingerprint(subject))

    def _measure_policy(
        self, subject: Subject, spec: EvaluationSpec, rows: list[EvaluationRow], served: Served | None
    ) -> Measurement:
        """Measure everything except the judge's verdicts."""
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

    @property
    def _referee(self) -> NamedJudge:
        if self._judge is None:
            assert self.evaluations.spec.judge is not None
            made = judge_named(
                self.plan,
                self.evaluations.spec.judge,
                strings=strings_in(self.plan.data[self.evaluations.spec.data], self.plan.data),
                allow_code=self.allow_code,
                open_model=self.open_model,
                warn=self._warn,
            )
            rows = dict(zip(keys_of(self.rows()), self.rows(), strict=True))
            self._judge = NamedJudge(self.evaluations.spec.judge, made, rows)
        return self._judge

    def _measure_pairs(self, subject: Subject, rows: list[EvaluationRow]) -> Measurement:
        assert subject.artifact is not None
        path, below = str(subject.artifact.folder), self.bases.below(subject.adapter)
        stamp = self._stamp(len(rows))

        def measured_pairs() -> Measurement:
            model = open_reward_model(path, self.bases.device, at=self.evaluations.spec.at, below=below)
            # The rows already have the form that the model sees.
            return measure_pairs(
                replace(model, chat=False), rows, seed=self.plan.seed, name=subject.name, data=stamp
            )

        measured = current().by_first(measured_pairs)
        return replace(measured, fingerprint=self.evaluations.fingerprint(subject))

    @property
    def _rewards(self) -> dict[str, RewardFunction]:
        """Return the recipe's reward functions by name.

        Without reward models: a policy is not measured by the model it was trained to please.
        """
        return measured_functions(self.plan, allow_code=self.allow_code, warn=self._warn)

    def _tell_progress(self, name: str, what: str, done: int = 0, total: int = 0) -> None:
        self.listener(EvaluationProgress(name, what, done, total))

    def _warn(self, text: str) -> None:
        """Emit a warning once per run: each policy is measured on the same rows."""
        if text not in self._told:
            self._told.add(text)
            self.listener(Warned(text))

    def rows(self) -> list[EvaluationRow]:
        """The held-out rows, read once. Rows left out are listed in the output folder."""
        if self._rows is None:
            loading = Loading(Use("eval", None), refusal(self.bases.tokenizer))
            self._rows = load_evaluation(self.plan.data, self.evaluations.spec.data, loading)
            if loading.left_out and current().is_first:
                write_left_out(loading.left_out, self.plan.output)
                text = f"{len(loading.left_out):,} held-out rows are left out, listed in {LEFT_OUT}"
                self.listener(Warned(text))
            self.hashes.must_be_unchanged(self.evaluations.spec.data)
        return self._rows

    def _stamp(self, rows: int) -> DataStamp:
        source = self.plan.data[self.evaluations.spec.data]
        files = [shown(path) for path in source.paths] if isinstance(source, Source) else []
        return DataStamp(", ".join(files) or source.name, digest(self.hashes.source(source.name)), rows)
