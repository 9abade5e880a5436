"""Whether a stage had anything to learn from, read off its log."""

from __future__ import annotations

import pytest

from ptspec.training.signal import nothing_learned

EQUAL = {"loss": 0.0, "grad_norm": 0.0, "reward": 1.0, "frac_reward_zero_std": 1.0}
NONE = {"loss": 0.0, "grad_norm": 0.0, "reward": float("nan"), "frac_reward_zero_std": 0.0}
HALF = {"loss": 0.1, "grad_norm": 0.3, "reward": 0.5, "frac_reward_zero_std": 0.5}
SFT = {"loss": 2.1, "grad_norm": 1.2}
FLAT = {"loss": 2.1, "grad_norm": 0.0}
END = {"train_runtime": 3.2, "train_loss": 0.0}


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([EQUAL, EQUAL, END], "all completions of a prompt got the same reward"),
        ([{**EQUAL, "grad_norm": 0.2}, END], "all completions of a prompt got the same reward"),
        ([{**NONE, "grad_norm": 0.2}, EQUAL, END], "or none"),
        ([{**NONE, "reward": None, "grad_norm": 0.2}, END], "or none"),
        ([NONE, HALF, END], None),
        ([FLAT, FLAT, END], "the gradient was 0 in each"),
        ([EQUAL, HALF, END], None),
        ([SFT, FLAT, END], None),
        ([{"loss": 0.0, "reward": 1.0}, END], None),
        ([END], None),
        ([], None),
    ],
)
def test_nothing_learned(history, why):
    found = nothing_learned(history)
    assert found is None if why is None else found is not None and why in found
