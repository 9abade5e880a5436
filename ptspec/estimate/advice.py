"""Changes that make a stage fit a device, the cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ptspec.recipe.batch_split import PASSES, ROWS
from ptspec.recipe.compute_rules import FSDP, allows_strategy
from ptspec.recipe.effective_config import EffectiveConfig, config_of
from ptspec.recipe.plan import Stage
from ptspec.recipe.stage_evaluation import evaluation_of

OPTIMIZER = "paged_adamw_8bit"
PRECOMPUTE = "precompute_ref_log_probs"
SHORTEST = 256
"""Tokens; a `max_length` below this is not proposed."""


Tried = Iterator[tuple[Stage, str]]
Change = Callable[[EffectiveConfig], Tried]


@dataclass(frozen=True)
class Advice:
    """Changes to a stage.

    `bytes`: the present need; `changes`: settings in words, all of them together; `after`: the need in bytes
    with them; `fits`: whether that fits.
    """

    bytes: int
    changes: tuple[str, ...]
    after: int
    fits: bool


def advise(settings: EffectiveConfig, need: Callable[[Stage], int], limit: int) -> Advice:
    """Return changes to `settings.stage` until its `need`, in bytes, is at most `limit`.

    In order: batch size with accumulation, rows per evaluation pass, gradient checkpointing, sharded weights,
    8-bit optimizer, a reference that is freed. If these do not suffice: an adapter (over 4-bit weights)
    before the last two, and `max_length` after them. Changes that save nothing are left out.
    """
    first = (_smaller_batch, _smaller_evaluation, _checkpointing, _sharded)
    same_weights = _changed(settings, need, limit, (*first, _optimizer, _reference))
    if same_weights.fits:
        return same_weights
    return _changed(settings, need, limit, (*first, _adapter, _optimizer, _reference, _shorter))


def _changed(
    settings: EffectiveConfig, need: Callable[[Stage], int], limit: int, changes: tuple[Change, ...]
) -> Advice:
    """Return the result of applying the changes one after another."""
    stage, begun = settings.stage, need(settings.stage)
    now, words = begun, []
    for change in changes:
        word = None
        for tried, text in change(replace(settings, stage=stage)):
            if now <= limit:
                break
            if (after := need(tried)) < now:
                stage, now, word = tried, after, text
        words += [word] if word else []
    return Advice(begun, tuple(words), now, now <= limit)


def _smaller_batch(settings: EffectiveConfig) -> Tried:
    # For one process: the recipe's numbers, which several processes share.
    config = config_of(settings.stage)
    rows, steps = (number if isinstance(number, int) else 1 for number in map(config.get, (ROWS, PASSES)))
    while rows % 2 == 0:
        rows, steps = rows // 2, steps * 2
        yield _with(settings, rows, steps)


def _smaller_evaluation(settings: EffectiveConfig) -> Tried:
    """Return smaller evaluation passes of a stage that is evaluated during training.

    Passes of an online method hold whole groups.
    """
    evaluation = evaluation_of(settings.stage)
    rows = evaluation.rows if evaluation is not None and evaluation.generations is None else 1
    while rows % 2 == 0:
        rows //= 2
        changed = _configured(settings.stage, per_device_eval_batch_size=rows)
        yield changed, f'"per_device_eval_batch_size": {rows}'


def _with(settings: EffectiveConfig, rows: int, steps: int) -> tuple[Stage, str]:
    changed = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": steps}
    return _configured(settings.stage, **changed), (
        f'"per_device_train_batch_size": {rows}, "gradient_accumulation_steps": {steps}'
    )


def _checkpointing(settings: EffectiveConfig) -> Tried:
    if not settings.value("gradient_checkpointing"):
        changed = _configured(settings.stage, gradient_checkpointing=True)
        yield changed, '"gradient_checkpointing": true'


def _adapter(settings: EffectiveConfig) -> Tried:
    adapter = settings.stage.adapter
    if not adapter.use_lora:
        yield replace(settings.stage, adapter=replace(adapter, use_lora=True)), '"use_lora": true'
    if not adapter.use_qlora and not settings.stage.compute.is_sharded:
        changed = replace(adapter, use_lora=True, use_qlora=True)
        yield replace(settings.stage, adapter=changed), '"use_qlora": true'


def _sharded(settings: EffectiveConfig) -> Tried:
    """Return sharding for several processes that each hold the whole model, if the stage allows it."""
    compute = settings.stage.compute
    if compute.world == 1 or compute.strategy not in (None, "ddp") or not settings.gpu:
        return
    stage = replace(settings.stage, compute=replace(compute, strategy=FSDP))
    if allows_strategy(stage):
        yield stage, f'"strategy": "{FSDP}"'


def _optimizer(settings: EffectiveConfig) -> Tried:
    if "8bit" not in str(settings.value("optim")):
        yield _configured(settings.stage, optim=OPTIMIZER), f'"optim": "{OPTIMIZER}"'


def _reference(settings: EffectiveConfig) -> Tried:
    """Return precomputed references for full fine-tuning, whose reference need not stay in memory."""
    stage = settings.stage
    if not stage.adapter.use_lora and stage.holds_reference and settings.value(PRECOMPUTE) is not None:
        yield _configured(stage, **{PRECOMPUTE: True}), f'"{PRECOMPUTE}": true'


def _shorter(settings: EffectiveConfig) -> Tried:
    name = "max_completion_length" if settings.stage.method.online else "max_length"
    length = settings.number(name) // 2
    while length >= SHORTEST:
        yield _configured(settings.stage, **{name: length}), f'"{name}": {length}'
        length //= 2


def _configured(stage: Stage, **fields: object) -> Stage:
    return replace(stage, config={**stage.config, **fields})
