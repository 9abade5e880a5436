"""What shards a stage among several processes: FSDP2 or DeepSpeed's ZeRO, both by accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from ptspec.recipe.plan import ZERO_STAGE, ComputeSpec

SHARDED: Mapping[str, Any] = {"state_dict_type": "SHARDED_STATE_DICT"}
"""Of FSDP: each process writes its part of a checkpoint, which any number of them reads."""

FROM_TRAINER = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)
"""Of a DeepSpeed config what transformers fills in from the fields of a trainer."""


def arguments_of(compute: ComputeSpec) -> dict[str, Any]:
    """The fields of `TrainingArguments` that switch on what `compute` asks for."""
    match compute.engine:
        case "fsdp":
            return {"fsdp": True, "fsdp_config": {**SHARDED, **(compute.fsdp or {}), "version": 2}}
        case "deepspeed":
            return {"deepspeed": deepspeed_config(compute)}
    return {}


def deepspeed_config(compute: ComputeSpec) -> dict[str, Any]:
    """The recipe's DeepSpeed config with what else DeepSpeed has to know: rows, passes, clipping and
    precision are the trainer's; what is saved is gathered."""
    given = dict(compute.deepspeed or {})
    zero = {"stage": ZERO_STAGE, **given.get("zero_optimization", {})}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    mixed = {name: {**given.get(name, {}), "enabled": "auto"} for name in ("bf16", "fp16")}
    return {**given, **dict.fromkeys(FROM_TRAINER, "auto"), **mixed, "zero_optimization": zero}


@contextmanager
def forgotten_afterwards(compute: ComputeSpec) -> Iterator[None]:
    """Weights that are loaded afterwards are whole: transformers goes by the last DeepSpeed config of the
    process whenever it loads some, for as long as accelerate keeps it."""
    try:
        yield
    finally:
        if compute.engine == "deepspeed":
            from accelerate.state import AcceleratorState
            from transformers.integrations.deepspeed import unset_hf_deepspeed_config

            unset_hf_deepspeed_config()
            AcceleratorState._reset_state()


def around_update(trainer: Any, before: Callable[[], None], after: Callable[[bool], None]) -> None:
    """Calls `before` when `trainer` is about to change weights within its backward pass, as DeepSpeed's
    engine does, and `after` with whether it has: it passes over a gradient that is no number. Does
    nothing for a trainer that takes its step after `on_pre_optimizer_step`. To be called when training
    begins: before, there is no engine."""
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
    """The weights that `trainer` has sharded, gathered in the first process; every process must ask.

    None where each holds them all."""
    dist = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if not trainer.is_fsdp_enabled and (dist is None or dist.zero_stage != 3):
        return None
    gathered: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    return gathered


def is_rounded(trainer: Any) -> bool:
    """Whether the weights of `trainer` are in 16 bits where it computes with them: FSDP gathers them so,
    DeepSpeed keeps them so. (DDP computes under autocast.)"""
    by_engine = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    return bool(by_engine and trainer.accelerator.mixed_precision != "no")


def elements(parameter: nn.Parameter) -> int:
    """The numbers of `parameter` on all processes together."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))
