"""Which weights the stages of a run open, in order, so that none is held longer than needed.

Derived from the plan alone. An error here costs a load or memory, never a result: missing weights are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptspec.diagnostics import PtError
from ptspec.methods.types import Yields
from ptspec.model.model_cache import Weights
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Handover, Plan, Stage
from ptspec.recipe.second_models import second_models_of
from ptspec.recipe.signals import SecondModel
from ptspec.store.stage_folder import ADAPTER_CONFIG, open_artifact, partial_folder


@dataclass(frozen=True)
class Needs:
    """The weights that `stages` of `plan` open when run one after another in this process."""

    plan: Plan
    stages: tuple[Stage, ...]

    def of(self, stage: Stage) -> list[Weights]:
        """Return the weights needed from the moment `stage` opens its input."""
        return [*self._training(stage), *self.after_training(stage)]

    def after_training(self, stage: Stage) -> list[Weights]:
        """Return the weights needed after training `stage`: to verify, to evaluate, and for later stages."""
        return [*self._folder(stage), *self.from_evaluation(stage)]

    def from_evaluation(self, stage: Stage | None) -> list[Weights]:
        """Return the weights needed from the evaluation of `stage` (None: the base) on."""
        if stage is None:
            evaluated, later = [self.base], self.stages
        else:
            evaluated = list(self._evaluation(stage))
            later = self.stages[[other.name for other in self.stages].index(stage.name) + 1 :]
        return [*evaluated, *(one for other in later for one in self._whole(other))]

    @property
    def base(self) -> Weights:
        """The base as evaluated, and as adapters of reward models use it."""
        return Weights(None, self.plan.stages[0].adapter)

    def _whole(self, stage: Stage) -> Iterator[Weights]:
        if stage.pick is not None:
            return
        yield from self._training(stage)
        yield from self._folder(stage)
        yield from self._evaluation(stage)

    def _training(self, stage: Stage) -> Iterator[Weights]:
        if stage.merge is not None and not stage.merge.of_adapters:
            return  # read tensor by tensor, and opened two at a time
        for folder in self._below(stage.parent):
            yield Weights(folder, stage.adapter)
        for second in second_models_of(self.plan, stage):
            if second != stage.teacher:
                yield from [self.base] if self._goes_over_base(second.path) else []
                continue
            adapter = teacher_adapter(self.plan, second)
            for folder in self._below(second.path):
                yield Weights(folder, adapter)

    def _folder(self, stage: Stage) -> Iterator[Weights]:
        """Return the folder below the policy that `stage` saves."""
        if not _is_whole_reward_model(stage):
            for folder in self._below(stage.name):
                yield Weights(folder, stage.adapter)

    def _evaluation(self, stage: Stage) -> Iterator[Weights]:
        spec = self.plan.evaluation
        if spec is None or _is_whole_reward_model(stage):
            return
        yield from self._folder(stage)
        if needs_base(spec):
            yield Weights(None, stage.adapter)
        if stage.parent != BASE and self.plan.stage(stage.parent) is None:
            for folder in self._below(stage.parent):
                yield Weights(folder, stage.adapter)

    def _below(self, name: str) -> tuple[str | None, ...]:
        """Return the folders whose weights the policy `name` (a stage, the base, a folder) may use.

        A stage's own under both of its names; both kinds if a merge may end as an adapter or as full weights.
        """
        if name == BASE:
            return (None,)
        stage = self.plan.stage(name)
        if stage is None:
            return (self._outside(name),)
        output = self.plan.output
        own = (str(output / stage.name), str(partial_folder(output, stage.name)))
        if not stage.adapter.use_lora:
            return own
        below = self._below(stage.parent)
        return (*below, *own) if stage.handover is Handover.MERGE else below

    def _outside(self, folder: str) -> str | None:
        try:
            weights = open_artifact(Path(folder)).weights
        except PtError:
            return folder
        return None if weights == self.plan.model.path else weights

    def _goes_over_base(self, model: str) -> bool:
        """Return whether the reward model `model` is an adapter that may share the base."""
        stage = self.plan.stage(model)
        if stage is not None:
            return stage.adapter.use_lora
        return (Path(model) / ADAPTER_CONFIG).is_file()


def teacher_adapter(plan: Plan, teacher: SecondModel) -> AdapterSpec:
    """Return the precision to open a teacher in: that of its stage, else as stored."""
    stage = plan.stage(teacher.path)
    return AdapterSpec(True) if stage is None else stage.adapter


def needs_base(spec: EvaluationSpec) -> bool:
    """Return whether an evaluation computes the KL to the base on sampled responses."""
    return spec.sampled > 0 and (spec.metrics is None or "kl" in spec.metrics)


def _is_whole_reward_model(stage: Stage) -> bool:
    """Return whether `stage` saves a whole classifier, which is opened separately."""
    return stage.method.yields is Yields.REWARD_MODEL and not stage.adapter.use_lora
