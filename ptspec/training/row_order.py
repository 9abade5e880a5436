"""Sort rows by length within each optimizer step, so that rows of similar length share a pass.

A step keeps its rows, in the order of the same random draw; only their grouping into passes changes.
`ptspec.performance` chooses it if the loss of a step is the same either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow.compute
from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

SEQUENCES = ("input_ids", "prompt_ids", "chosen_ids", "rejected_ids")
"""TRL's columns of token ids; a pair has its prompt once and both answers, or both in whole."""


class ByLength(Sampler[int]):  # type: ignore[misc]  # the library is untyped
    """Yields the rows of `inner`, each `step` of them sorted by `lengths`, the longest first.

    Memory then runs out at once or not at all. The last incomplete step of an epoch keeps its order: its
    passes may differ in size, and a loss may be a mean over passes.
    """

    def __init__(self, inner: SeedableRandomSampler, lengths: Sequence[int], step: int) -> None:
        self.inner, self.lengths, self.step = inner, lengths, step

    def __iter__(self) -> Iterator[int]:
        drawn = iter(self.inner)
        while rows := list(islice(drawn, self.step)):
            whole = len(rows) == self.step
            yield from sorted(rows, key=self.lengths.__getitem__, reverse=True) if whole else rows

    def __len__(self) -> int:
        return len(self.inner)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the inner sampler."""
        self.inner.set_epoch(epoch)


def sort_within_steps(trainer: Any, processes: int) -> None:
    """Make `trainer` sort its rows within each step, which `processes` share."""
    arguments = trainer.args
    step = arguments.train_batch_size * arguments.gradient_accumulation_steps * processes

    def sampler(dataset: Any = None) -> ByLength:
        rows = trainer.train_dataset if dataset is None else dataset
        drawn = SeedableRandomSampler(rows, data_seed=arguments.data_seed)
        return ByLength(drawn, row_lengths(rows, arguments.max_length), step)

    trainer._get_train_sampler = sampler


def row_lengths(rows: Any, most: int | None) -> list[int]:
    """Return the tokens of each training row, at most `most`; of a pair the prompt with the longer answer."""
    table = rows.with_format("arrow")[:]
    found = {
        name: pyarrow.compute.list_value_length(table[name]).to_pylist()
        for name in SEQUENCES
        if name in table.column_names
    }
    prompt = found.pop("prompt_ids", None) or [0] * len(rows)
    longest = [max(together) for together in zip(*found.values(), strict=True)]
    whole = [own + answer for own, answer in zip(prompt, longest, strict=True)]
    return whole if most is None else [min(length, most) for length in whole]
