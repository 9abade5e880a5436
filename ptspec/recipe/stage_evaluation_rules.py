"""Check `eval_data` and its config fields before anything starts.

What transformers refuses after loading the model is an error here; what it ignores is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import EvaluationSpec, Stage
from ptspec.recipe.sources import AnySource, Source, parts_of
from ptspec.recipe.stage_evaluation import (
    BEST,
    FIELDS,
    PREFIX,
    STEPS,
    STOPPING,
    StageEvaluation,
    evaluation_of,
)
from ptspec.recipe.stage_metrics import example_of, is_open, known_metrics

PATIENCE, THRESHOLD = STOPPING
ASKING = ("load_best_model_at_end", PATIENCE)


def check(stage: Stage, data: Mapping[str, AnySource], findings: Findings) -> None:
    """Report the errors of one stage's evaluation."""
    rules = _Rules(stage, findings)
    evaluation = evaluation_of(stage)
    if evaluation is None:
        rules.without_data()
        return
    rules.rows(data)
    rules.when(evaluation)
    rules.saving(evaluation)
    rules.metric(evaluation)
    rules.groups(evaluation)
    rules.without_effect(evaluation)


def chosen_by(evaluation: EvaluationSpec | None, stages: Sequence[Stage], findings: Findings) -> None:
    """Warn if the final evaluation uses the rows that chose a best step: its result is biased."""
    for stage in stages:
        own = evaluation_of(stage)
        if evaluation is None or own is None or not own.decides or own.data != evaluation.data:
            continue
        step = f'the best step of stage "{stage.name}"'
        message = f'"{own.data}" chooses {step}, and /eval measures that step on it'
        hint = "give other rows: what is chosen by some looks better on them"
        findings.warn("held-out-row", join(stage.at, "eval_data"), message, hint)


class _Rules:
    def __init__(self, stage: Stage, findings: Findings) -> None:
        self.stage, self.findings, self.given = stage, findings, stage.config

    def _at(self, field: str) -> str:
        return join(self.stage.at, "config", field)

    def _refuse(self, code: str, field: str, message: str, hint: str) -> None:
        """Report an error at `field`, or at the stage if the recipe does not give it."""
        is_given = field in self.given
        where = self._at(field) if is_given else self.stage.at
        self.findings.error(code, where, message, hint)

    def _unused(self, field: str, why: str, hint: str) -> None:
        if field in self.given:
            message = f'"{field}" has no effect: {why}'
            self.findings.warn("unused-key", self._at(field), message, hint, key=True)

    def without_data(self) -> None:
        """Report evaluation fields without `eval_data`."""
        asked = [field for field in FIELDS if _says_something(field, self.given)]
        if self.given.get("save_strategy") == BEST:
            asked.append("save_strategy")
        if not asked:
            return
        others = f" (and {listed(asked[1:])})" if len(asked) > 1 else ""
        message = f'"{asked[0]}"{others} needs held-out rows, and stage "{self.stage.name}" has none'
        hint = '"eval_data": the name of a source in /data, beside "config"'
        self.findings.error("missing-key", self._at(asked[0]), message, hint, key=True)

    def rows(self, data: Mapping[str, AnySource]) -> None:
        """Report streamed rows, which must end, and rows that are trained on."""
        name, at = str(self.stage.eval_data), join(self.stage.at, "eval_data")
        if name == self.stage.data:
            message = f'"{name}" is what stage "{self.stage.name}" trains on: nothing in it is held out'
            hint = 'give other rows; "split": "train[90%:]" takes a part of a set'
            self.findings.warn("held-out-row", at, message, hint)
        for part in parts_of(data, name) if name in data else ():
            source = data.get(part)
            if isinstance(source, Source) and source.streaming and source.limit is None:
                message = f'"{part}" is streamed, and all rows of "eval_data" are measured each time'
                hint = f'"limit" in /data/{part}: so many of its first rows'
                self.findings.error("contradiction", at, message, hint)

    def when(self, evaluation: StageEvaluation) -> None:
        if self.given.get("eval_strategy") == "no":
            message = '"eval_strategy" is "no", and there is "eval_data" to measure'
            self._refuse(
                "contradiction", "eval_strategy", message, '"steps" or "epoch"; or leave "eval_data" out'
            )
        steps = self.given.get("eval_steps")
        if isinstance(steps, float) and steps > 1 and not steps.is_integer():
            message = f'"eval_steps" is {steps}: above 1 it counts steps, below it is a share of them'
            self._refuse("contradiction", "eval_steps", message, f"write {round(steps)}")
        if evaluation.strategy != STEPS:
            self._unused(
                "eval_steps", 'with "eval_strategy": "epoch" each epoch ends with one', "leave it out"
            )

    def saving(self, evaluation: StageEvaluation) -> None:
        """Report evaluations without a checkpoint: transformers loads the best checkpoint."""
        if not evaluation.hands_on_best:
            return
        strategy = self.given.get("save_strategy", evaluation.strategy)
        if strategy not in (evaluation.strategy, BEST):
            message = (
                f'"load_best_model_at_end" hands on a checkpoint, and "save_strategy" is "{strategy}" '
                f'where "eval_strategy" is "{evaluation.strategy}"'
            )
            hint = f'"save_strategy": "{evaluation.strategy}", or leave it out'
            self._refuse("contradiction", "save_strategy", message, hint)
        elif strategy == STEPS and not _is_multiple(self.given.get("save_steps"), evaluation.steps):
            saves = self.given["save_steps"]
            message = (
                f'"load_best_model_at_end" hands on a checkpoint, and "save_steps" {saves} '
                f'is not a multiple of "eval_steps" {evaluation.steps:g}'
            )
            hint = f'"save_steps": {evaluation.steps:g}, or leave it out'
            self._refuse("contradiction", "save_steps", message, hint)

    def metric(self, evaluation: StageEvaluation) -> None:
        """Report an unknown metric for the best evaluation."""
        if evaluation.metric is None:
            return
        asks = next((field for field in ASKING if self.given.get(field)), "lr_scheduler_type")
        name = evaluation.metric.removeprefix(PREFIX)
        if name == "loss" != self.stage.method.measured.best:
            message = (
                f'"{asks}" needs "metric_for_best_model": the loss of {self.stage.method.name} is that of a '
                "gradient, and no lower for a better policy"
            )
            hint = f'"metric_for_best_model": "{example_of(self.stage)}"'
            field = "metric_for_best_model" if "metric_for_best_model" in self.given else asks
            self._refuse("missing-key", field, message, hint)
            return
        known = known_metrics(self.stage)
        if name in known or not known:
            return
        logged = [PREFIX + one for one in known]
        hint = did_you_mean(evaluation.metric, logged) or f"it logs: {listed(logged, 24)}"
        message = f'{self.stage.method.name} logs no "{evaluation.metric}" when it is evaluated'
        if is_open(self.stage):
            hint = f"{hint}; a reward of your own may log it (log_metric)"
            self.findings.warn("unknown-metric", self._at("metric_for_best_model"), message, hint)
        else:
            self._refuse("unknown-metric", "metric_for_best_model", message, hint)

    def groups(self, evaluation: StageEvaluation) -> None:
        """Report passes without whole groups of completions over all processes."""
        rows = evaluation.rows * self.stage.compute.world
        if evaluation.generations is None or rows % evaluation.generations == 0:
            return
        which = "num_generations_eval" if "num_generations_eval" in self.given else "num_generations"
        message = (
            f"an evaluation pass of {rows} completions cannot be split into groups of "
            f"{which} {evaluation.generations}"
        )
        hint = f'"per_device_eval_batch_size": a multiple of {evaluation.generations}'
        self._refuse("contradiction", "per_device_eval_batch_size", message, hint)

    def without_effect(self, evaluation: StageEvaluation) -> None:
        if evaluation.metric is None:
            hint = '"load_best_model_at_end": true hands on the best step'
            for field in ("metric_for_best_model", "greater_is_better"):
                self._unused(field, "no step is chosen by it", hint)
        if evaluation.patience is None:
            self._unused(THRESHOLD, f'it goes with "{PATIENCE}"', f'"{PATIENCE}": 3')
        elif not evaluation.hands_on_best:
            message = f'"{PATIENCE}" ends the stage after its best step, and the last one is handed on'
            hint = '"load_best_model_at_end": true hands on the best'
            self.findings.warn("last-step-handed-on", self._at(PATIENCE), message, hint, key=True)


def _says_something(field: str, given: Mapping[str, Any]) -> bool:
    """Return whether `field` has an effect: transformers' own defaults have none."""
    value = given.get(field)
    is_default = value is None or value is False or (field, value) in _DEFAULTS
    return field in given and not is_default


_DEFAULTS = (("eval_strategy", "no"), ("eval_delay", 0), ("per_device_eval_batch_size", 8), (THRESHOLD, 0))


def _is_multiple(saves: float | None, evaluates: float | None) -> bool:
    """Return whether steps are a multiple as transformers counts: shares are compared with shares."""
    if saves is None or not evaluates:
        return True
    if (saves < 1) != (evaluates < 1):
        return False
    return abs(saves / evaluates - round(saves / evaluates)) < 1e-9
