"""Whether a stage had anything to learn from, read off its logged steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

EQUAL_REWARDS = "frac_reward_zero_std"
"""TRL's GRPO and RLOO: the share of prompts whose completions all got the same reward; 1: no advantage."""
REWARD = "reward"
"""TRL's mean over completions: no number (None, once it is logged) where no reward function had a say."""
GRADIENT = "grad_norm"


def nothing_learned(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Why no step of a log history could teach anything; None where one could, or none was logged."""
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
