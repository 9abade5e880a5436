"""Switch a model between the policy, its reference, and both mixed in the LoRA weights.

Sets the state of PEFT's layers without walking over the model or changing `requires_grad`: cheap enough for
twice per token, unlike PEFT's `set_adapter` and `disable_adapter`.
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
"""TRL's name for the frozen copy of an adapter that was trained before."""


@dataclass(frozen=True)
class Reference:
    """`model` computes as the reference within `enter()`.

    `adapters`: if it is the policy's own model with plain LoRA, the names of the policy's and the reference's
    adapter (None: without one).
    """

    model: Any
    enter: Callable[[], AbstractContextManager[None]]
    adapters: tuple[str, str | None] | None = None


def second_model(model: nn.Module) -> Reference:
    """Return the reference that is a separate model."""
    return Reference(model, nullcontext)


def switched_adapter(model: PeftModel) -> Reference:
    """Return the reference over the policy's base weights: adapter "ref" if there is one, else no adapter.

    On exit each layer has the adapter that was active before.
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
    """Within the context, `model` has the weights (1 − c)·W_π + c·W_ref.

    A LoRA layer adds s·B·A per active adapter, so both adapters active with scalings s·(1 − c) and s·c are
    exactly that mixture; if the reference is the model without adapter, scaling (1 − c)·s.
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
    """Return whether `mixed_weights` is exact for `model`: plain LoRA, and nothing else trained."""
    if not isinstance(model, PeftModel):
        return False
    config = model.peft_config[POLICY]
    return config.peft_type == "LORA" and not config.use_dora and not config.modules_to_save
