"""A stage whose rewards could teach nothing says so at its end."""

from __future__ import annotations

import pytest
from support.small import run_here, run_small, write_recipe

from ptspec.events import StageTrained, Warned

pytestmark = pytest.mark.slow

WHY = "all completions of a prompt got the same reward"


def online(recipe, **reward):
    """Two steps of GRPO; nothing is evaluated."""
    recipe["rewards"] = {"r": reward}
    config = {
        "max_steps": 2,
        "num_generations": 4,
        "per_device_train_batch_size": 4,
        "max_completion_length": 6,
    }
    recipe["stages"] = [
        {"name": "online", "method": "grpo", "data": "train", "rewards": ["r"], "config": config}
    ]
    del recipe["eval"]


def test_equal_rewards_are_said_on_the_screen(tmp_path):
    run = run_small(tmp_path, lambda recipe: online(recipe, function="regex", pattern="never seen"))
    assert run.done.code == 0, run.done.stderr
    lines = run.done.stderr.splitlines()
    (said,) = [
        number for number, line in enumerate(lines) if "nothing" in line or "anything to learn" in line
    ]
    assert "warning" in lines[said] or "!" in lines[said]
    told = " ".join(" ".join(lines[said:]).split())
    assert WHY in told and "see what the rewards pay" in told
    assert all(
        row["frac_reward_zero_std"] == 1 for row in run.metrics("online") if "frac_reward_zero_std" in row
    )


@pytest.mark.parametrize(
    ("scores", "warns"),
    [("[None] * len(completions)", True), ("[float(n) for n in range(len(completions))]", False)],
    ids=["no reward at all", "rewards that differ"],
)
def test_and_reported_after_the_training(tmp_path, scores, warns):
    (tmp_path / "r.py").write_text(f"def reward(completions, **columns):\n    return {scores}\n")
    recipe = write_recipe(tmp_path, lambda recipe: online(recipe, function=f"{tmp_path / 'r.py'}:reward"))
    ran = run_here(recipe, tmp_path / "out")
    assert ran.error is None, ran.error
    told = [event for event in ran.events if isinstance(event, Warned) and WHY in event.text]
    assert len(told) == warns
    if warns:
        trained = next(event for event in ran.events if isinstance(event, StageTrained))
        assert told[0].stage == "online" and ran.events.index(told[0]) > ran.events.index(trained)
