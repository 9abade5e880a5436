"""Sharding engines of a stage with several processes: FSDP2 or DeepSpeed's ZeRO, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from ptspec.recipe.plan import ZERO_STAGE, ComputeSpec

SHARDED: Mapping[str, Any] = {"state_dict_type": "SHARDED_STATE_DICT"}
"""FSDP: each process writes its shard of a checkpoint, which any number of processes can read."""

FROM_TRAINER = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)
"""Fields of a DeepSpeed config that transformers fills in from the trainer's arguments."""


def arguments_of(compute: ComputeSpec) -> dict[str, Any]:
    """Return the `TrainingArguments` fields that enable the engine of `compute`."""
    match compute.engine:
        case "fsdp":
            return {"fsdp": True, "fsdp_config": {**SHARDED, **(compute.fsdp or {}), "version": 2}}
        case "deepspeed":
            return {"deepspeed": deepspeed_config(compute)}
    return {}


def deepspeed_config(compute: ComputeSpec) -> dict[str, Any]:
    """Return the recipe's DeepSpeed config, completed.

    Rows, passes, clipping and precision come from the trainer; saved weights are gathered.
    """
    given = dict(compute.deepspeed or {})
    zero = {"stage": ZERO_STAGE, **given.get("zero_optimization", {})}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    mixed = {name: {**given.get(name, {}), "enabled": "auto"} for name in ("bf16", "fp16")}
    return {**given, **dict.fromkeys(FROM_TRAINER, "auto"), **mixed, "zero_optimization": zero}


@contextmanager
def forgotten_afterwards(compute: ComputeSpec) -> Iterator[None]:
    """Clear transformers' global DeepSpeed config on exit, so that later loads are not sharded."""
    try:
        yield
    finally:
        if compute.engine == "deepspeed":
            from accelerate.state import AcceleratorState
            from transformers.integrations.deepspeed import unset_hf_deepspeed_config

            unset_hf_deepspeed_config()
            AcceleratorState._reset_state()


def around_update(trainer: Any, before: Callable[[], None], after: Callable[[bool], None]) -> None:
    """Call `before` when weights are about to change within the backward pass, and `after` afterwards.

    As DeepSpeed's engine does; `after` receives whether they changed, since a non-finite gradient is skipped.
    Does nothing for a trainer that steps after `on_pre_optimizer_step`. Call when training begins: before,
    there is no engine.
    """
    if not trainer.is_deepspeed_enabled:
        return
    engine = trainer.model_wrapped
    step = engine.step

    def watched(*args: Any, **kwargs: Any) -> Any:
        before()
        result = step(*args, **kwargs)
        after(engine.was_step_applied())
        return result

    engine.step = watched


def whole_weights(trainer: Any) -> dict[str, Any] | None:
    """Return the sharded weights of `trainer`, gathered in rank 0; every process must call this.

    None if each process holds them all.
    """
    dist = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if not trainer.is_fsdp_enabled and (dist is None or dist.zero_stage != 3):
        return None
    gathered: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    return gathered


def is_rounded(trainer: Any) -> bool:
    """Return whether `trainer` computes with 16-bit weights: FSDP gathers, DeepSpeed stores them so.

    DDP computes under autocast instead.
    """
    by_engine = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    return bool(by_engine and trainer.accelerator.mixed_precision != "no")


def elements(parameter: nn.Parameter) -> int:
    """Return the number of elements of `parameter` over all processes."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
