"""The number of optimizer steps of a stage, as transformers and TRL count them.

transformers 5.23, `Trainer.set_initial_training_values`: the batches of an epoch over the gradient
accumulation, rounded up, times the epochs, rounded up; `max_steps` takes precedence. TRL 1.16,
`RepeatSampler` and `get_train_dataloader` of sampling trainers: an epoch is rows ÷ (generation batch ÷
completions per prompt) whole chunks, each repeated num_iterations · steps_per_generation times; the rest is
dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptspec.recipe.effective_config import EffectiveConfig


@dataclass(frozen=True)
class Steps:
    """`total` optimizer steps; `batch`: rows (online: completions) per step over all processes.

    `epochs`: passes over the rows. `generation`: completions sampled at once, 0 for an offline method.
    """

    total: int
    batch: int
    epochs: float
    generation: int = 0


def count(settings: EffectiveConfig, rows: int) -> Steps:
    """Return the steps of a stage that trains on `rows` rows."""
    accumulation = max(1, settings.number("gradient_accumulation_steps", 1))
    rows_at_once = settings.number("per_device_train_batch_size", 8) * settings.processes
    batch = rows_at_once * accumulation
    if settings.stage.method.online:
        return _online(settings, rows, batch, accumulation)
    parts = rows / rows_at_once
    batches = math.floor(parts) if settings.value("dataloader_drop_last") else math.ceil(parts)
    an_epoch = max(1, math.ceil(batches / accumulation))
    total = _total(settings, an_epoch)
    return Steps(total, batch, total / an_epoch)


def _online(settings: EffectiveConfig, rows: int, batch: int, accumulation: int) -> Steps:
    group = group_of(settings)
    per_step = batch // accumulation
    per_generation = settings.number("steps_per_generation") or accumulation
    generation = settings.number("generation_batch_size") or per_step * per_generation
    per_generation = generation // per_step or 1
    prompts = max(1, generation // group)
    repeats = max(1, settings.number("num_iterations", 1)) * per_generation
    # Every process gets batches of its rows × steps_per_generation; each step takes one part.
    samples = rows // prompts * prompts * group * repeats
    batches = math.ceil(samples / (per_step * per_generation))
    an_epoch = max(1, math.ceil(batches / accumulation))
    total = _total(settings, an_epoch)
    return Steps(total, batch, total / an_epoch, generation)


def group_of(settings: EffectiveConfig) -> int:
    """Return the completions per prompt of an online method."""
    sampling = settings.stage.method.sampling
    field = sampling.group if sampling is not None else None
    return 1 if field is None else max(1, settings.number(field, 1))


def _total(settings: EffectiveConfig, an_epoch: int) -> int:
    most = settings.number("max_steps", -1)
    if most > 0:
        return most
    epochs = settings.value("num_train_epochs")
    return math.ceil((3.0 if epochs is None else float(epochs)) * an_epoch)
