"""What the fields of a stage's own evaluation come to where a recipe does not say."""

import pytest

from ptspec import methods
from ptspec.estimate.measured import _times
from ptspec.estimate.steps import Steps
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, Stage
from ptspec.recipe.stage_evaluation import FIELDS, evaluation_of
from ptspec.store.covered_config import covered_config


def stage(method="sft", compute=None, eval_data="dev", **config):
    return Stage(
        "one",
        methods.get(method),
        "base",
        None,
        "train",
        AdapterSpec(True),
        config=config,
        compute=compute or ComputeSpec(),
        eval_data=eval_data,
    )


@pytest.mark.parametrize(
    ("config", "strategy", "steps"),
    [
        ({}, "epoch", None),
        ({"num_train_epochs": 1}, "steps", 0.1),
        ({"max_steps": 200}, "steps", 0.1),
        ({"max_steps": 200, "save_steps": 50}, "steps", 50),
        ({"save_steps": 0.25}, "steps", 0.25),
        ({"save_strategy": "epoch", "max_steps": 200}, "epoch", None),
        ({"eval_steps": 20}, "steps", 20),
        ({"eval_strategy": "epoch", "max_steps": 200}, "epoch", None),
    ],
)
def test_when_a_stage_is_evaluated(config, strategy, steps):
    found = evaluation_of(stage(**config))
    assert (found.strategy, found.steps) == (strategy, steps)
    assert found.is_given is ("eval_strategy" in config or "eval_steps" in config)


def test_nothing_is_asked_without_rows():
    assert evaluation_of(stage(eval_data=None, eval_steps=20)) is None


def test_the_best_step_is_saved_as_often_as_it_is_measured():
    found = evaluation_of(stage(load_best_model_at_end=True, eval_steps=20))
    assert found.arguments() | {"save_strategy": "steps", "save_steps": 20} == found.arguments()
    assert (found.metric, found.greater) == ("eval_loss", False)
    assert evaluation_of(stage(eval_steps=20)).saving == {}
    best = evaluation_of(stage(load_best_model_at_end=True, save_strategy="best"))
    assert best.saving == {"save_strategy": "best"}


def test_a_metric_is_better_when_it_is_higher_but_a_loss():
    config = {"load_best_model_at_end": True, "metric_for_best_model": "reward"}
    found = evaluation_of(stage("grpo", **config))
    assert (found.metric, found.greater) == ("eval_reward", True)
    assert evaluation_of(stage("grpo", greater_is_better=False, **config)).greater is False


@pytest.mark.parametrize(
    ("config", "processes", "rows"),
    [
        ({}, 1, 8),
        ({"num_generations": 6}, 1, 12),
        ({"num_generations": 6, "num_generations_eval": 2}, 1, 8),
        ({"num_generations": 8}, 4, 2),
        ({"per_device_eval_batch_size": 24}, 2, 12),
    ],
)
def test_passes_of_completions_hold_whole_groups_and_are_shared(config, processes, rows):
    found = evaluation_of(stage("grpo", ComputeSpec(processes=processes), **config))
    assert found.rows == rows


def test_what_only_measures_decides_nothing():
    assert not evaluation_of(stage(eval_steps=20)).decides
    for config in (
        {"load_best_model_at_end": True},
        {"early_stopping_patience": 1},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
    ):
        assert evaluation_of(stage(**config)).decides
    given = dict.fromkeys(FIELDS, 1)
    sft = methods.get("sft")
    assert covered_config(sft, given, ComputeSpec()) == covered_config(sft, {}, ComputeSpec())


@pytest.mark.parametrize(
    ("config", "steps", "times"),
    [
        ({"eval_steps": 20}, 100, 5),
        ({"eval_steps": 30}, 100, 4),
        ({"eval_steps": 0.1}, 96, 10),
        ({"eval_steps": 20, "eval_delay": 40}, 100, 4),
        ({"eval_strategy": "epoch"}, 100, 3),
        ({"eval_strategy": "epoch", "eval_on_start": True}, 100, 4),
    ],
)
def test_how_often_is_counted_as_transformers_does(config, steps, times):
    assert _times(evaluation_of(stage(**config)), Steps(steps, 8, 2.5)) == times
