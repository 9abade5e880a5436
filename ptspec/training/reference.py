"""A reference model for trainers that accept none: GRPO loads one by the policy's name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model


def takes_reference(trainer_class: type) -> bool:
    """Return whether the trainer's constructor has a `ref_model`."""
    return "ref_model" in inspect.signature(trainer_class).parameters


@contextmanager
def loading_none(arguments: Any) -> Iterator[None]:
    """Within the context, a trainer made with `arguments` does not load a reference."""
    beta, arguments.beta = arguments.beta, 0.0
    try:
        yield
    finally:
        arguments.beta = beta


def adopt(trainer: Any, reference: Any) -> None:
    """Set the reference of `trainer`, prepared as TRL prepares its own."""
    trainer.beta = trainer.args.beta
    if trainer.args.disable_dropout:
        disable_dropout_in_model(reference)
    cast = getattr(trainer.args, "cast_lm_head_to_fp32", False)
    add_fused_lm_head(reference, temperature=trainer.temperature, cast_lm_head_to_fp32=cast)
    if trainer.is_deepspeed_enabled:
        trainer.ref_model = prepare_deepspeed(reference, trainer.accelerator)
    elif trainer.is_fsdp_enabled:
        trainer.ref_model = prepare_fsdp(reference, trainer.accelerator)
    else:
        trainer.ref_model = trainer.accelerator.prepare_model(reference, evaluation_mode=True)
