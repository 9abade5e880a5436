"""Sequences of like length together, as many as a budget of tokens allows, padded on one side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def batches(lengths: Sequence[int], tokens: int, extra: int = 0) -> Iterator[list[int]]:
    """Indices of `lengths`, longest first, in batches of at most `tokens` tokens, padding included.

    `extra` tokens are reserved in every sequence (what is to be generated). A sequence longer than
    the budget is a batch by itself. Longest first, so that memory runs out at once or not at all.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        widest = lengths[batch[0] if batch else index] + extra
        if batch and (len(batch) + 1) * widest > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def pad(
    sequences: Sequence[Sequence[int]], filler: int, device: torch.device, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, both (batch, longest), int64, on `device`."""
    longest = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), longest), filler, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, sequence in enumerate(sequences):
        span = slice(longest - len(sequence), None) if left else slice(len(sequence))
        ids[i, span] = torch.tensor(sequence, dtype=torch.long)
        mask[i, span] = 1
    return ids.to(device), mask.to(device)
