"""Whether a stage had anything to learn from, read off its logged steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EQUAL_REWARDS = "frac_reward_zero_std"
"""TRL's GRPO and RLOO: the share of prompts whose completions all got the same reward; 1: no advantage."""
GRADIENT = "grad_norm"


def nothing_learned(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Why no step of a log history could teach anything; None where one could, or none was logged."""
    rewarded = [entry[EQUAL_REWARDS] for entry in history if EQUAL_REWARDS in entry]
    if rewarded and all(share == 1 for share in rewarded):
        return (
            "no step had anything to learn from: in each, all completions of a prompt got the same reward, "
            "or none; see what the rewards pay, and what they compare with"
        )
    gradients = [entry[GRADIENT] for entry in history if GRADIENT in entry]
    if gradients and all(norm == 0 for norm in gradients):
        return "no step had anything to learn from: the gradient was 0 in each"
    return None
