"""Random numbers for sampling tokens, independent per row of the other rows in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCK = 64
"""Tokens for which numbers are generated at once."""


class RowDraws:
    """Samples the next token of each row by inverse transform of the row's next number.

    A row's numbers depend only on its key (non-negative integers), so that it is sampled the same with other
    rows, or in another process.
    """

    def __init__(self, keys: Sequence[Sequence[int]]) -> None:
        self.generators = [np.random.default_rng(key) for key in keys]
        self.numbers = torch.empty(0)
        self.token = 0

    def __call__(self, scores: Tensor, going: Tensor, rows: int) -> Tensor:
        """Return tokens (rows,) from `scores` (rows, vocabulary) of the rows with indices `going`."""
        place = self.token % BLOCK
        if place == 0:
            block = np.stack([generator.random(BLOCK) for generator in self.generators])
            self.numbers = torch.from_numpy(block).to(scores.device, exact(scores.device))
        self.token += 1
        return falls_on(scores, self.numbers[going, place])


def falls_on(scores: Tensor, numbers: Tensor) -> Tensor:
    """Return the first token whose cumulative probability exceeds the row's number in [0, 1), (rows,).

    The same number gives the same token in any batch.
    """
    cumulative = scores.float().softmax(-1).cumsum(-1, dtype=exact(scores.device))
    number = numbers[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, number, right=True).clamp(max=scores.shape[1] - 1)
    return token.squeeze(1)


def exact(device: torch.device) -> torch.dtype:
    """Return the widest floating-point dtype of a device: Apple's have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
