"""Record log-probabilities during sampling."""

from __future__ import annotations

import torch
from torch import Tensor


class LogProbabilities:
    """A listener of a decoding loop: log p of each token of the first `rows` rows, at a temperature."""

    def __init__(self, rows: int, temperature: float) -> None:
        self.rows = rows
        self.temperature = temperature
        self.columns: list[Tensor] = []

    def __call__(self, logits: Tensor, tokens: Tensor, going: Tensor) -> None:
        """Record a step: unprocessed `logits` (rows, vocabulary) and `tokens` (rows, 1) of the going rows."""
        count = int((going < self.rows).sum())
        column = logits.new_zeros(self.rows)
        scaled = logits[:count] / self.temperature
        column[going[:count]] = scaled.log_softmax(-1).gather(1, tokens[:count]).squeeze(1)
        self.columns.append(column)

    def all(self, tokens: int) -> Tensor:
        """Return the log-probabilities (rows, `tokens`) in nats, 0 after a row's end."""
        found = torch.stack(self.columns, dim=1)[:, :tokens]
        return torch.nn.functional.pad(found, (0, tokens - found.shape[1]))
