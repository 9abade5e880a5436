"""The effective settings of a stage's evaluation on `eval_data` during training.

Used by validation, training, fingerprints and the plan: when it is measured, which step is handed on and when
it stops early. Fields have transformers' names; `early_stopping_patience` and `early_stopping_threshold` are
those of its EarlyStoppingCallback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ptspec.methods.types import Method
from ptspec.recipe.effective_config import with_defaults
from ptspec.recipe.plan import Stage

STEPS, EPOCH, BEST = "steps", "epoch", "best"
STOPPING = ("early_stopping_patience", "early_stopping_threshold")
"""Fields of transformers' EarlyStoppingCallback; no TRL config has them."""
FIELDS = (
    *("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "eval_packing"),
    *("per_device_eval_batch_size", "num_generations_eval"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    *STOPPING,
)
"""Config fields of evaluations during training."""
FOLLOWING = ("reduce_lr_on_plateau", "greedy")
"""Learning rate schedules that depend on the evaluation."""
EVERY = 0.1
"""Default of `eval_steps`: a share of all steps."""
PREFIX = "eval_"
MEASURED = "eval_runtime"
"""Key logged with each evaluation on held-out rows, which is not a step."""


@dataclass(frozen=True)
class StageEvaluation:
    """When a stage is evaluated on `data`, and the consequences.

    `strategy`: "steps" or "epoch"; `steps`: between two evaluations, below 1 a share of all. `rows`: per
    pass, on each device; `generations`: completions per prompt; None without groups. `metric`: decides the
    best evaluation, as logged ("eval_loss"); None if nothing needs it. `hands_on_best`: the policy of the
    best evaluation is the result. `patience`: evaluations without an improvement of more than `threshold`
    that end the training; None: never. `saving`: the matching `save_strategy` and `save_steps`. `is_given`:
    the recipe sets when.
    """

    data: str
    strategy: str
    steps: float | None
    delay: float
    on_start: bool
    rows: int
    generations: int | None
    packing: bool | None
    metric: str | None
    greater: bool
    hands_on_best: bool
    patience: int | None
    threshold: float
    follows: bool
    saving: Mapping[str, Any]
    is_given: bool

    @property
    def decides(self) -> bool:
        """Whether the evaluation changes the stage's result."""
        return self.hands_on_best or self.patience is not None or self.follows

    def arguments(self) -> dict[str, Any]:
        """Return the corresponding `TrainingArguments` fields."""
        given = {"eval_strategy": self.strategy, "eval_steps": self.steps, "eval_delay": self.delay}
        given |= {"eval_on_start": self.on_start, "per_device_eval_batch_size": self.rows}
        given |= {"load_best_model_at_end": self.hands_on_best, **self.saving}
        if self.metric is not None:
            given |= {"metric_for_best_model": self.metric, "greater_is_better": self.greater}
        if self.generations is not None:
            given["num_generations_eval"] = self.generations
        if self.packing is not None:
            given["eval_packing"] = self.packing
        return given

    def covered(self) -> dict[str, Any]:
        """Return what a fingerprint covers, if it decides."""
        when = [self.strategy, self.steps, self.delay]
        stops = None if self.patience is None else [self.patience, self.threshold]
        passes = [self.rows, self.generations, self.packing]
        best = [self.metric, self.greater, self.hands_on_best]
        return {"when": when, "passes": passes, "best": best, "stops": stops}

    @property
    def when(self) -> str:
        """The times in words: "every 20 steps", "each epoch"."""
        if self.strategy == EPOCH or self.steps is None:
            return "each epoch"
        if self.steps < 1:
            return f"every {self.steps * 100:g} % of the steps"
        return "each step" if self.steps == 1 else f"every {self.steps:g} steps"

    @property
    def words(self) -> str:
        """In words: "on heldout each epoch; the step with the lowest eval_loss is handed on, …"."""
        parts = [f"on {self.data} {self.when}" + ("" if self.is_given else " (eval_strategy is not given)")]
        end = "highest" if self.greater else "lowest"
        if self.hands_on_best:
            parts.append(f"the step with the {end} {self.metric} is handed on")
        if self.patience is not None:
            times = "evaluation" if self.patience == 1 else f"{self.patience} evaluations"
            last = "" if self.hands_on_best else "; the last step is handed on"
            parts.append(f"ends after {times} without a better {self.metric}{last}")
        return "; ".join(parts)


@cache
def _least(rows: int, group: int) -> int:
    """Return the smallest multiple of `group` that is at least `rows`."""
    return -(-rows // group) * group


def evaluation_of(stage: Stage) -> StageEvaluation | None:
    """Return the evaluation of `stage` on its `eval_data`; None if it has none."""
    if stage.eval_data is None:
        return None
    config = with_defaults(stage.method, stage.config)
    strategy = _strategy(stage.config, config)
    steps = _steps(stage.config) if strategy == STEPS else None
    follows = config.get("lr_scheduler_type") in FOLLOWING
    best, patience = bool(config.get("load_best_model_at_end")), stage.config.get(STOPPING[0])
    is_asked = best or patience is not None or follows or stage.config.get("save_strategy") == BEST
    metric = _metric(stage.config.get("metric_for_best_model") or "loss") if is_asked else None
    greater = stage.config.get("greater_is_better")
    generations = _generations(stage.method, config)
    return StageEvaluation(
        data=stage.eval_data,
        strategy=strategy,
        steps=steps,
        delay=config.get("eval_delay") or 0,
        on_start=bool(config.get("eval_on_start")),
        rows=_rows(stage, config, generations),
        generations=generations,
        packing=config.get("eval_packing"),
        metric=metric,
        greater=bool(metric and not metric.endswith("loss")) if greater is None else bool(greater),
        hands_on_best=best,
        patience=patience,
        threshold=stage.config.get(STOPPING[1]) or 0.0,
        follows=follows,
        saving=_saving(stage.config, strategy, steps) if best else {},
        is_given="eval_strategy" in stage.config or "eval_steps" in stage.config,
    )


def _strategy(given: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return the recipe's strategy; else that of saving.

    Else epochs if there are several, else step shares.
    """
    if given.get("eval_strategy") in (STEPS, EPOCH):
        return str(given["eval_strategy"])
    if "eval_steps" in given:
        return STEPS
    if given.get("save_strategy") in (STEPS, EPOCH):
        return str(given["save_strategy"])
    has_epochs = (config.get("max_steps") or -1) <= 0 and (config.get("num_train_epochs") or 0) > 1
    return EPOCH if has_epochs and "save_steps" not in given else STEPS


def _steps(given: Mapping[str, Any]) -> float:
    if (steps := given.get("eval_steps")) is not None:
        return float(steps) if steps < 1 else int(steps)
    saves = given.get("save_steps") if given.get("save_strategy", STEPS) == STEPS else None
    return EVERY if saves is None else float(saves) if saves < 1 else int(saves)


def _saving(given: Mapping[str, Any], strategy: str, steps: float | None) -> dict[str, Any]:
    """Return the saving fields that keep the best evaluation's checkpoint.

    As often as it is evaluated, unless the recipe sets it.
    """
    found: dict[str, Any] = {"save_strategy": given.get("save_strategy", strategy)}
    if found["save_strategy"] == STEPS and "save_steps" not in given and steps is not None:
        found["save_steps"] = steps
    return found


def _metric(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name


def _generations(method: Method, config: Mapping[str, Any]) -> int | None:
    """Return the completions per prompt; None for a method without groups."""
    group = method.sampling.group if method.sampling is not None else None
    return int(config.get(f"{group}_eval") or config.get(group) or 8) if group is not None else None


def _rows(stage: Stage, config: Mapping[str, Any], generations: int | None) -> int:
    """Return the rows per pass on each device.

    TRL's own number, for completions in whole groups per prompt; these are split over processes, as the
    completions of a training step are.
    """
    rows = int(config.get("per_device_eval_batch_size") or 8)
    if generations is None:
        return rows
    whole = rows if "per_device_eval_batch_size" in stage.config else _least(rows, generations)
    world = stage.compute.world if stage.compute.keep_effective_batch else 1
    return whole if whole % world else whole // world
