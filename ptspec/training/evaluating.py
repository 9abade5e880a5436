"""A stage's evaluation on held-out rows during training, without effect on the training, and its best step.

TRL measures, by transformers' rules (`_determine_best_metric`, `EarlyStoppingCallback`). Added here: sealed
and renamed checkpoints have no path that transformers could remember, so the best one is known by its step;
each new best is saved; and an evaluation that is missing at a checkpoint, of a run that was stopped or killed
before it, is made up for on resuming.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.events import BestStep, Listener, StepEvaluated, Warned
from ptspec.processes import current
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Stage
from ptspec.recipe.stage_evaluation import EPOCH, PREFIX, StageEvaluation
from ptspec.recipe.stage_metrics import example_of
from ptspec.training.checkpoint_callback import AlreadyTrained
from ptspec.training.checkpoints import PREFIX as CHECKPOINT
from ptspec.training.checkpoints import fault_of
from ptspec.training.random_state import random_state_kept

SPEED = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
"""transformers' keys for the speed of an evaluation."""


@dataclass(frozen=True)
class Best:
    """The best evaluation of a stage, for its record."""

    step: int
    metric: str
    value: float
    handed_on: bool
    stopped_at: int | None


class Evaluating(TrainerCallback, ExportableState):  # type: ignore[misc]  # the library is untyped
    """Evaluates `trainer` as `evaluation` says. `resumed_from`: the checkpoint that it resumes from.

    Must follow the callbacks that stop training, and precede the one that saves.
    """

    def __init__(
        self,
        trainer: Any,
        evaluation: StageEvaluation,
        stage: Stage,
        checkpoints: Path,
        resumed_from: Path | None,
        listener: Listener,
    ) -> None:
        self.trainer, self.evaluation, self.stage = trainer, evaluation, stage
        self.checkpoints, self.resumed_from, self.listener = checkpoints, resumed_from, listener
        self.stopper = EarlyStoppingCallback(evaluation.patience or 0, evaluation.threshold)
        self.stopped_at: int | None = None
        self.is_measuring = False
        self._makes_up = False
        self._evaluate, self._determine = trainer.evaluate, trainer._determine_best_metric
        self._load = trainer._load_best_model
        trainer.evaluate, trainer._determine_best_metric = self._measured, self._is_best
        trainer._load_best_model = lambda: None  # it is loaded by its step: `hand_on`

    def state(self) -> dict[str, Any]:
        """Return its checkpoint state, in the form of transformers' callbacks."""
        counter = self.stopper.early_stopping_patience_counter
        return {"args": {}, "attributes": {"without_improvement": counter, "stopped_at": self.stopped_at}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the state of a checkpoint and schedule a missed evaluation."""
        stored = state.stateful_callbacks.setdefault(type(self).__name__, self.state())["attributes"]
        self.stopper.early_stopping_patience_counter = stored["without_improvement"]
        self.stopped_at = stored["stopped_at"]
        if self.resumed_from is not None:
            state.compute_steps(args, state.max_steps)  # transformers keeps those of the checkpoint
            # With this set, transformers evaluates before the first step.
            self._makes_up = self._is_due(state) and not _is_measured(state)
            args.eval_on_start = self._makes_up

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise `AlreadyTrained` if early stopping has ended the stage."""
        if self.stopped_at is not None:
            raise AlreadyTrained

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Skip the evaluation if a stop was requested."""
        if control.should_training_stop and state.global_step < state.max_steps:
            control.should_evaluate = False  # do not evaluate after a stop request

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Skip the evaluation if a stop was requested."""
        self.on_step_end(args, state, control)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Update the best step and early stopping, and emit the result."""
        metrics.update(current().of_first(dict(metrics)))
        if self.evaluation.metric is not None and (state.global_step > 0 or self._makes_up):
            self._judge(args, state, control, metrics)
        shown, values = shown_metric(self.stage, self.evaluation), measured_values(metrics)
        where = (self.stage.name, state.global_step, state.max_steps)
        self.listener(StepEvaluated(*where, shown, values))

    def _judge(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, Any]
    ) -> None:
        name = str(self.evaluation.metric)
        if name not in metrics:
            raise StageError(self._unknown(name, metrics))
        if metrics[name] is None:
            metrics[name] = math.nan  # a value without scored rows is better than none
        if self.evaluation.patience is not None:
            self.stopper.check_metric_value(args, state, control, metrics[name])
            if self.stopper.early_stopping_patience_counter >= self.evaluation.patience:
                self.stopped_at = state.global_step
                control.should_training_stop = control.should_save = True
        if self._makes_up:
            self._makes_up, args.eval_on_start = False, False
            self._made_up(metrics)

    def _made_up(self, metrics: dict[str, Any]) -> None:
        """Do what transformers does after an evaluation and omits at the start."""
        self._determine(metrics=metrics, trial=None)
        if self.evaluation.follows:
            self.trainer.lr_scheduler.step(metrics[str(self.evaluation.metric)])

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes for an error raised by an evaluation."""
        if not self.is_measuring:
            return ()
        rows = f"per_device_eval_batch_size is {self.trainer.args.per_device_eval_batch_size}"
        return (f"it happened in the evaluation after step {self.trainer.state.global_step}; {rows}",)

    def hand_on(self) -> Best | None:
        """Load the weights of the best evaluation, if the recipe asks for it; every process must call this.

        None if no evaluation decides the best step.
        """
        state, evaluation = self.trainer.state, self.evaluation
        self.trainer.args.eval_on_start = evaluation.on_start
        if evaluation.metric is None or state.best_metric is None:
            return None
        step = state.best_global_step
        if not step:
            text = f"no evaluation gave a number for {evaluation.metric}: the last step is handed on"
            self.listener(Warned(text, self.stage.name))
            return None
        is_handed_on = evaluation.hands_on_best
        if is_handed_on and step != state.global_step:
            self._load_step(step)
        best = Best(step, evaluation.metric, float(state.best_metric), is_handed_on, self.stopped_at)
        told = (best.step, best.metric, best.value, state.global_step, evaluation.patience)
        self.listener(BestStep(self.stage.name, *told, self.stopped_at is not None, is_handed_on))
        return best

    def _load_step(self, step: int) -> None:
        folder = self.checkpoints / f"{CHECKPOINT}{step}"
        if (fault := current().by_first(lambda: fault_of(folder))) is not None:
            message = f"the best step of {self.stage.name} is {step}, and its checkpoint {fault}"
            hint = "the same command trains again what is missing"
            raise StageError(Diagnostic("damaged-checkpoint", message, None, self.stage.at, hint))
        self.trainer.state.best_model_checkpoint = str(folder)
        self._load()

    def _measured(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate; its random numbers depend on the step alone, and the training's are unaffected."""
        with random_state_kept():
            if self._makes_up:
                self.trainer._load_rng_state(str(self.resumed_from))
            self.is_measuring = True
            metrics: dict[str, Any] = self._evaluate(*args, **kwargs)
            self.is_measuring = False
        return metrics

    def _is_best(self, metrics: dict[str, Any], trial: Any) -> bool:
        """Return transformers' own decision. A new best is saved, whenever the recipe saves besides."""
        is_best: bool = self._determine(metrics=metrics, trial=trial)
        if is_best and self.evaluation.hands_on_best:
            self.trainer.control.should_save = True
        return is_best

    def _is_due(self, state: TrainerState) -> bool:
        """Return whether transformers evaluates after the step of `state`."""
        is_last = state.global_step >= state.max_steps
        if self.evaluation.strategy == EPOCH:
            is_due = is_last or float(state.epoch or 0).is_integer()
            return bool(state.global_step and is_due and self.evaluation.delay <= (state.epoch or 0))
        is_due = is_last or state.global_step % state.eval_steps == 0
        return bool(state.global_step and is_due and self.evaluation.delay <= state.global_step)

    def _unknown(self, name: str, metrics: Mapping[str, Any]) -> Diagnostic:
        known = [key for key in metrics if key.startswith(PREFIX) and key.removeprefix(PREFIX) not in SPEED]
        message = f"{self.stage.name}: an evaluation logs no {name}"
        hint = did_you_mean(name, known) or f"it logs: {listed(known, 24)}"
        where = join(self.stage.at, "config", "metric_for_best_model")
        return Diagnostic("unknown-metric", message, None, where, hint)


def shown_metric(stage: Stage, evaluation: StageEvaluation) -> str:
    """Return the metric to show of each evaluation: the one that decides the best step, if any."""
    return evaluation.metric or example_of(stage)


def measured_values(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the values in `logs` that an evaluation measured, by their logged names."""
    return {
        name: float(value)
        for name, value in logs.items()
        if is_measured(name) and isinstance(value, int | float) and math.isfinite(value)
    }


def is_measured(name: str) -> bool:
    """Return whether a logged number is a result of an evaluation, and not its speed."""
    return name.startswith(PREFIX) and name.removeprefix(PREFIX) not in SPEED


def _is_measured(state: TrainerState) -> bool:
    """Return whether the step of `state` was evaluated."""
    return any(
        entry.get("step") == state.global_step and any(key.startswith(PREFIX) for key in entry)
        for entry in reversed(state.log_history)
    )
