"""Valid names of `metric_for_best_model`: what a stage's trainer logs in evaluations."""

from __future__ import annotations

from ptspec.recipe.plan import Stage


def known_metrics(stage: Stage) -> tuple[str, ...]:
    """Return the metrics that an evaluation of `stage` logs, with those of its rewards."""
    measured = stage.method.measured
    own = (f"rewards/{name}/{part}" for name in stage.rewards for part in measured.of_reward)
    return (*measured.metrics, *own)


def is_open(stage: Stage) -> bool:
    """Return whether it may log unknown metrics: user rewards may log any."""
    return stage.method.online


def example_of(stage: Stage) -> str:
    """Return a method's usual metric for its best step, for a message.

    Nash-MD's is not against the mixture, which learns.
    """
    return f"eval_{stage.method.measured.best}"
