"""The random numbers that tokens are drawn with: a row's own, whatever rows are beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCK = 64
"""Tokens that numbers are made for at once."""


class RowDraws:
    """Chooses the next token of each row: the one that the row's next number falls on.

    A row's numbers are made of its key (non-negative integers) alone, so that a row that is decoded with
    other rows, or by another process, is drawn the same.
    """

    def __init__(self, keys: Sequence[Sequence[int]]) -> None:
        self.generators = [np.random.default_rng(key) for key in keys]
        self.numbers = torch.empty(0)
        self.token = 0

    def __call__(self, scores: Tensor, going: Tensor, rows: int) -> Tensor:
        """(rows that go on,), by their `scores` (rows that go on, vocabulary) and their places, `going`."""
        place = self.token % BLOCK
        if place == 0:
            block = np.stack([generator.random(BLOCK) for generator in self.generators])
            self.numbers = torch.from_numpy(block).to(scores.device, exact(scores.device))
        self.token += 1
        return falls_on(scores, self.numbers[going, place])


def falls_on(scores: Tensor, numbers: Tensor) -> Tensor:
    """The first token of each row whose cumulative probability exceeds its number in [0, 1): (rows,).

    The same number gives the same token in any batch."""
    cumulative = scores.float().softmax(-1).cumsum(-1, dtype=exact(scores.device))
    number = numbers[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, number, right=True).clamp(max=scores.shape[1] - 1)
    return token.squeeze(1)


def exact(device: torch.device) -> torch.dtype:
    """The widest floating point of a device: Apple's have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
