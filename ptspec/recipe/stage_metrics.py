"""The names that `metric_for_best_model` may have: what a stage's trainer logs when it is evaluated."""

from __future__ import annotations

from ptspec.recipe.plan import Stage


def known_metrics(stage: Stage) -> tuple[str, ...]:
    """The metrics that an evaluation of `stage` logs, with those of its own rewards."""
    measured = stage.method.measured
    own = (f"rewards/{name}/{part}" for name in stage.rewards for part in measured.of_reward)
    return (*measured.metrics, *own)


def is_open(stage: Stage) -> bool:
    """Whether it may log what is not known here: rewards log what they like."""
    return stage.method.online


def example_of(stage: Stage) -> str:
    """What a method's best step is known by. (Nash-MD's not by the mixture, which learns.)"""
    return f"eval_{stage.method.measured.best}"
