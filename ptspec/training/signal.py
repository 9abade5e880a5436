"""Detect from logged steps that a stage had nothing to learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

EQUAL_REWARDS = "frac_reward_zero_std"
"""TRL's GRPO and RLOO key: share of prompts whose completions all got the same reward; 1: no advantage."""
REWARD = "reward"
"""TRL's mean over completions; null in the log if no reward function scored any."""
GRADIENT = "grad_norm"


def nothing_learned(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why no step of a log history had a training signal; None if one had, or none was logged."""
    rewarded = [entry for entry in history if EQUAL_REWARDS in entry]
    if rewarded and all(map(_is_without_advantage, rewarded)):
        return (
            "no step had anything to learn from: in each, all completions of a prompt got the same reward, "
            "or none; see what the rewards pay, and what they compare with"
        )
    gradients = [entry[GRADIENT] for entry in history if GRADIENT in entry]
    if gradients and all(norm == 0 for norm in gradients):
        return "no step had anything to learn from: the gradient was 0 in each"
    return None


def _is_without_advantage(entry: Mapping[str, Any]) -> bool:
    mean = entry.get(REWARD, 0.0)
    return entry[EQUAL_REWARDS] == 1 or mean is None or math.isnan(mean)
