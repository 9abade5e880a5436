"""The model a token is asked from: the policy, its reference, or both mixed in the LoRA weights.

Switches PEFT's layers by their state, with no walk over the model and no change to `requires_grad`: that is
cheap enough to do twice a token, where PEFT's own `set_adapter` and `disable_adapter` are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from ptspec.model.decoding.adapter_rows import readable_by_rows

POLICY = "default"
REFERENCE = "ref"
"""The name TRL gives to the frozen copy of an adapter that came in trained."""


@dataclass(frozen=True)
class Reference:
    """`model` answers as the reference while `enter()` is open.

    `adapters`: where it is the policy's own model with plain LoRA, the policy's adapter and the reference's
    (None: without one)."""

    model: Any
    enter: Callable[[], AbstractContextManager[None]]
    adapters: tuple[str, str | None] | None = None


def second_model(model: nn.Module) -> Reference:
    """The reference as a model of its own."""
    return Reference(model, nullcontext)


def switched_adapter(model: PeftModel) -> Reference:
    """The reference over the policy's own base weights: adapter "ref" where there is one, else no adapter.

    Whatever happens inside, each layer leaves the context with the adapter that was active before.
    """
    layers = [
        module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)
    ]
    adapters = [REFERENCE] if REFERENCE in model.peft_config else None

    @contextmanager
    def entered() -> Iterator[None]:
        before = [(layer, layer._disable_adapters, layer._active_adapter) for layer in layers]
        try:
            for layer in layers:
                layer._disable_adapters = adapters is None
                layer._active_adapter = adapters or layer._active_adapter
            yield
        finally:
            for layer, disabled, active in before:
                layer._disable_adapters, layer._active_adapter = disabled, active

    both = (POLICY, REFERENCE if adapters else None)
    names = [name for name in both if name is not None]
    return Reference(model.get_base_model(), entered, both if readable_by_rows(model, names) else None)


@contextmanager
def mixed_weights(model: PeftModel, coef: float) -> Iterator[None]:
    """Within, `model` answers with the weights (1 − c)·W_π + c·W_ref.

    A LoRA layer adds s·B·A for each active adapter, so both adapters active with their scalings s multiplied
    by 1 − c and c are that mixture exactly; with the adapter off as the reference, (1 − c)·s is.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    share = {POLICY: 1 - coef, REFERENCE: coef}
    before = [(layer, layer._active_adapter, dict(layer.scaling)) for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = [name for name in share if name in layer.scaling]
            for name in layer._active_adapter:
                layer.scaling[name] *= share[name]
        yield
    finally:
        for layer, active, scaling in before:
            layer._active_adapter = active
            layer.scaling.update(scaling)


def mixable(model: Any) -> bool:
    """Whether `mixed_weights` is exact for `model`: plain LoRA alone, nothing else trained beside it."""
    if not isinstance(model, PeftModel):
        return False
    config = model.peft_config[POLICY]
    return config.peft_type == "LORA" and not config.use_dora and not config.modules_to_save
