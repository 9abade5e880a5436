"""Batches of sequences of similar length within a token budget, padded on one side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from ptspec.model.free_memory import give_back
from ptspec.processes import current
from ptspec.training.faults import MachineError, machine_error_of

T = TypeVar("T")
Told = Callable[[str], None]


def batches(
    lengths: Sequence[int], tokens: int, extra: int = 0, rank: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Yield indices of `lengths`, longest first, in batches of at most `tokens` tokens with padding.

    `extra` tokens are reserved per sequence (for generation). `rank` replaces the lengths as sort key. A
    sequence longer than the budget is a batch by itself. With the longest first, memory runs out at once or
    not at all.
    """
    by = lengths if rank is None else rank
    batch: list[int] = []
    widest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-by[i], i)):
        wider = max(widest, lengths[index] + extra)
        if batch and (len(batch) + 1) * wider > tokens:
            yield batch
            batch, wider = [], lengths[index] + extra
        batch.append(index)
        widest = wider
    if batch:
        yield batch


def in_batches(
    lengths: Sequence[int],
    tokens: int,
    run: Callable[[list[int]], None],
    *,
    extra: int = 0,
    rank: Sequence[int] | None = None,
    only: Sequence[int] | None = None,
    warn: Told = lambda text: None,
) -> None:
    """Call `run` with the indices of each batch, restricted to `only` if given.

    If memory runs out, `tokens` is halved and the batch retried with fewer sequences, down to one; `warn`
    receives the size found. Raises what `run` raises, and out of memory for a single sequence.
    """
    todo, given = list(range(len(lengths)) if only is None else only), tokens
    while todo:
        sizes = [lengths[i] for i in todo]
        ranks = None if rank is None else [rank[i] for i in todo]
        batch = [todo[i] for i in next(batches(sizes, tokens, extra, ranks))]
        try:
            run(batch)
        except (RuntimeError, MemoryError) as error:
            if len(batch) < 2 or machine_error_of(error) is not MachineError.MEMORY:
                raise
            tokens = max(1, min(tokens, len(batch) * (max(lengths[i] for i in batch) + extra)) // 2)
        else:
            done = set(batch)
            todo = [i for i in todo if i not in done]
            continue
        give_back()  # after the traceback was freed, which holds the batch's tensors
    if tokens < given:
        warn(
            f"the device ran out of memory with batches of {given:,} tokens, and went on with {tokens:,}: "
            f'"eval": {{"batch_tokens": {tokens}}} begins with these'
        )


def in_shares(
    lengths: Sequence[int],
    tokens: int,
    compute: Callable[[list[int]], Sequence[T]],
    *,
    extra: int = 0,
    rank: Sequence[int] | None = None,
    done: Callable[[int], None] = lambda count: None,
    warn: Told = lambda text: None,
) -> list[T]:
    """Return the results of `compute` over all batches, in the order of `lengths`.

    `done` receives the number of sequences of each batch. Several processes take the batches of a single one
    in turns, so that each number comes from the same computation; every process gets all results.
    """
    found: dict[int, T] = {}

    def run(batch: list[int]) -> None:
        found.update(zip(batch, compute(batch), strict=True))
        done(len(batch))

    team = current()
    if team.alone:
        in_batches(lengths, tokens, run, extra=extra, rank=rank, warn=warn)
    else:
        tokens = team.of_first(tokens)  # it may depend on free memory
        for batch in list(batches(lengths, tokens, extra, rank))[team.index :: team.size]:
            in_batches(lengths, tokens, run, extra=extra, rank=rank, only=batch, warn=warn)
        own = len(found)
        for share in team.gathered(found):
            found |= share
        done(len(found) - own)
    return [found[i] for i in range(len(lengths))]


def pad(
    sequences: Sequence[Sequence[int]], filler: int, device: torch.device, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, both (batch, longest), int64, on `device`."""
    longest = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), longest), filler, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, sequence in enumerate(sequences):
        span = slice(longest - len(sequence), None) if left else slice(len(sequence))
        ids[i, span] = torch.tensor(sequence, dtype=torch.long)
        mask[i, span] = 1
    return ids.to(device), mask.to(device)
