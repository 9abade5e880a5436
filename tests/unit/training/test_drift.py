"""What a log history must look like for a policy to be said to run away."""

from __future__ import annotations

import pytest

from ptspec.training.drift import WINDOW, drifts


def history(**curves: list[float]) -> list[dict]:
    """One entry a step, and between them what is logged without these keys."""
    entries = [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]
    return [entry for pair in zip(entries, [{"loss": 0.1}] * len(entries), strict=True) for entry in pair]


FULL, GONE = [0.8] * WINDOW, [0.02] * WINDOW
HEALTHY = [0.256, 0.213, 0.143, 0.138, 0.075, 0.066, 0.057, 0.066, 0.069, 0.038, 0.045, 0.048, 0.03, 0.039]
"""GRPO of recipes/all_methods.json, whose rewards are met."""


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ({"entropy": FULL + GONE}, ["entropy fell to 0.02 of the 0.8 nats a token it began with"]),
        ({"entropy": FULL + [0.3] * 20}, []),
        ({"entropy": [*HEALTHY, *([0.03] * 20)]}, []),
        ({"entropy": FULL + GONE + FULL}, []),
        ({"entropy": (FULL + GONE)[:-1]}, []),
        ({"entropy": [0.02] * 40}, []),
        ({"kl": [0.0] * WINDOW + [3.0] * WINDOW}, ["KL to the reference is 3 nats a token and growing"]),
        ({"kl": [0.0] * (2 * WINDOW - 2) + [400.0] * 2}, []),
        ({"kl": [4.0] * WINDOW + [3.0] * WINDOW}, []),
        ({"kl": [0.0] * WINDOW + [3.0] * WINDOW, "completions/mean_length": [1.2] * (2 * WINDOW)}, []),
        (
            {"kl": [0.0] * WINDOW + [3.0] * WINDOW, "completions/mean_length": [4.0] * (2 * WINDOW)},
            ["KL to the reference is 3 nats a token and growing"],
        ),
        (
            {"kl": [0.0] * WINDOW + [12.0] * WINDOW, "completions/mean_length": [1.0] * (2 * WINDOW)},
            ["KL to the reference is 12 nats a token and growing"],
        ),
        ({"kl": [0.0] * WINDOW + [0.9] * WINDOW}, []),
        ({"kl": [None] * (2 * WINDOW), "entropy": FULL + FULL}, []),
        ({"loss": FULL + GONE}, []),
    ],
)
def test_drifts(curves, said):
    assert [drift.words for drift in drifts(history(**curves))] == said


def test_both_at_once_and_none_of_nothing():
    both = history(entropy=FULL + GONE, kl=[0.0] * WINDOW + [3.0] * WINDOW)
    assert [drift.key for drift in drifts(both)] == ["entropy", "kl"]
    assert not list(drifts([]))
