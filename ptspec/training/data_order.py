"""The order of a trainer's rows: per epoch the same also in a new trainer, and known afterwards.

transformers' random order depends on seed and epoch alone. TRL's order of prompts comes from a generator that
continues from epoch to epoch and restarts in a new trainer; that of rows grouped by length from torch's
global one.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from datasets import IterableDataset
from torch.utils.data import SequentialSampler
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl.trainer.utils import RepeatSampler

from ptspec.training.row_order import ByLength

KNOWN = (SeedableRandomSampler, RepeatSampler, SequentialSampler, LengthGroupedSampler, ByLength)


def begin_epoch(dataloader: Any, seed: int, epoch: int) -> None:
    """Set an epoch's order from `seed` and `epoch`, before its first batch, if it does not follow already."""
    sampler = _sampler(dataloader)
    if isinstance(sampler, LengthGroupedSampler):
        sampler.generator = torch.Generator().manual_seed(seed + epoch)


def catch_up(dataloader: Any, epochs: int) -> None:
    """Advance the prompt sampler's generator by `epochs` epochs."""
    sampler = _sampler(dataloader)
    if isinstance(sampler, RepeatSampler) and sampler.shuffle:
        for _ in range(epochs):
            torch.randperm(sampler.num_samples, generator=sampler.generator)


def rows_of_step(trainer: Any, done: int, batch: int | None = None) -> list[int]:
    """Return the indices of the training rows of this process in the step after `done` steps.

    Without duplicates; of batch number `batch`, or of all accumulated batches of the step. None if the order
    cannot be reconstructed.
    """
    loader = trainer.get_train_dataloader()
    if not isinstance(_sampler(loader), KNOWN):
        return []
    accumulated = trainer.args.gradient_accumulation_steps
    epoch, within = divmod(done, max(1, math.ceil(len(loader) / accumulated)))
    catch_up(loader, epoch)
    loader.set_epoch(epoch)
    begin_epoch(loader, trainer.args.seed, epoch)
    batches = list(islice(loader.batch_sampler, within * accumulated, (within + 1) * accumulated))
    chosen = batches if batch is None else batches[batch : batch + 1]
    return list(dict.fromkeys(number for rows in chosen for number in rows))


def rows_repeated(trainer: Any, processes: int) -> str | None:
    """Return a warning if `processes` cannot share an epoch's last rows evenly.

    accelerate fills its last batches with the first rows.
    """
    if processes == 1 or isinstance(trainer.train_dataset, IterableDataset):
        return None
    sampler = _sampler(trainer.get_train_dataloader())
    if sampler is None or isinstance(sampler, RepeatSampler) or trainer.args.dataloader_drop_last:
        return None
    rows, together = len(trainer.train_dataset), trainer.args.train_batch_size * processes
    if not (left := rows % together):
        return None
    more = together - left
    return (
        f"{rows:,} rows are not a multiple of {together} that {processes} processes take at once: the last "
        f"step of an epoch takes {more} of its first rows again"
    )


def _sampler(dataloader: Any) -> Any:
    """Return the innermost sampler, which decides the order of rows; None for a stream."""
    sampler = dataloader
    while (inner := getattr(sampler, "batch_sampler", None)) is not None:
        sampler = inner
    return None if sampler is dataloader else getattr(sampler, "sampler", None)
