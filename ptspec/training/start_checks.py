"""Check at the start of a stage that its policy equals the one handed over, and its reference."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from peft import PeftModel

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.methods.types import Yields
from ptspec.model import probes
from ptspec.model.adapters import ADAPTER
from ptspec.model.probes import Probes
from ptspec.recipe.plan import Stage

REFERENCE = "ref"
"""TRL's name for the frozen copy of a trained adapter."""


@dataclass(frozen=True)
class Beginning:
    """Distances in nats per token over the probes.

    `handed_over`: of the policy to the parent's saved one (None for a new reward model); `reference`: to its
    reference (None without one).
    """

    handed_over: float | None
    reference: float | None

    @property
    def words(self) -> str:
        """The distances in words: "policy = reference, probes agree exactly"."""
        if self.handed_over is None:
            return "a new head over the base"
        agree = f"probes agree to {self.handed_over:.0e}" if self.handed_over else "probes agree exactly"
        if self.reference is None:
            return agree
        return (
            f"policy = reference to {self.reference:.0e}, {agree}"
            if self.reference
            else (f"policy = reference, {agree}")
        )


def check_beginning(trainer: Any, stage: Stage, expected: Probes) -> Beginning:
    """Compare the policy of `trainer`, before its first step, with `expected` and with its reference.

    Raises `StageError` with both numbers and the likely cause if one differs by more than rounding.
    """
    model = unwrapped(trainer, trainer.model)
    if not _is_trained(model):
        raise StageError(_nothing_to_train(stage))
    if stage.method.yields is Yields.REWARD_MODEL:
        return Beginning(None, None)
    now = probes.measure(model, expected.ids)
    if not (distance := now.distance(expected)) <= (bound := now.bound(expected)):
        raise StageError(_another_policy(stage, distance, bound))
    reference = _reference(trainer, model, now, stage)
    if reference is None:
        return Beginning(distance, None)
    if not (apart := now.distance(reference)) <= (bound := now.bound(reference)):
        raise StageError(_another_reference(stage, apart, bound))
    return Beginning(distance, apart)


def unwrapped(trainer: Any, model: Any) -> Any:
    """Return `model` without the wrappers of `trainer`: compiled code and distribution."""
    return trainer.accelerator.unwrap_model(model, keep_torch_compile=False)


def _is_trained(model: Any) -> bool:
    """Return whether any part of the policy is trained; its reference adapter does not count."""
    ours = f".{ADAPTER}." if isinstance(model, PeftModel) else ""
    return any(ours in name and parameter.requires_grad for name, parameter in model.named_parameters())


def _nothing_to_train(stage: Stage) -> Diagnostic:
    return Diagnostic(
        "nothing-to-train",
        f'stage "{stage.name}" would train nothing: every weight of its policy is frozen',
        pointer=stage.at,
        hint="the adapter was attached for inference, or target_modules and modules_to_save name nothing",
    )


def _reference(trainer: Any, model: Any, now: Probes, stage: Stage) -> Probes | None:
    """Return the probes of the trainer's reference.

    None for a stage without one, or whose reference was the policy itself before the first step.
    """
    if not stage.has_reference:
        return None
    reference = getattr(trainer, "ref_model", None)
    if reference is not None:
        return probes.measure(unwrapped(trainer, reference), now.ids)
    if not isinstance(model, PeftModel):
        if stage.holds_reference:
            raise StageError(_no_reference(stage))
        return None
    with _as_reference(model):
        return probes.measure(model, now.ids)


@contextlib.contextmanager
def _as_reference(model: PeftModel) -> Any:
    """Return `model` as the trainer uses it as reference: the frozen copy, or without adapter."""
    if REFERENCE not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    active = model.active_adapter
    model.set_adapter(REFERENCE)
    try:
        yield
    finally:
        model.set_adapter(active)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)


def _made(stage: Stage) -> str:
    return "what it trained" if stage.merge is None else stage.merge.words


def _differ(distance: float, bound: float) -> str:
    return (
        f"log-probabilities of the probes differ by {distance:.3g} nats a token, "
        f"{bound:g} is what rounding explains"
    )


def _another_policy(stage: Stage, distance: float, bound: float) -> Diagnostic:
    return Diagnostic(
        "another-policy",
        f'stage "{stage.name}" would not begin with the policy of {stage.parent}: {_differ(distance, bound)}',
        pointer=stage.at,
        hint="the incoming adapter was dropped, changed, or laid over weights it was not trained on"
        if stage.handover is not None
        else "no adapter came in: the weights were changed, or the new adapter does not begin at zero",
    )


def _no_reference(stage: Stage) -> Diagnostic:
    return Diagnostic(
        "another-reference",
        f'stage "{stage.name}" would train without a reference: the trainer has dropped the one it was given',
        pointer=stage.at,
        hint=f"the reference must be {stage.parent} as it came in",
    )


def _another_reference(stage: Stage, distance: float, bound: float) -> Diagnostic:
    return Diagnostic(
        "another-reference",
        f'stage "{stage.name}" would begin with a reference that is not its policy: '
        f"{_differ(distance, bound)}",
        pointer=stage.at,
        hint=f"the reference must be {stage.parent} as it came in, not the bare base or an adapter of it",
    )


def check_saved(stage: Stage, model: Any, made: Probes) -> float:
    """Return the distance of the trained policy (of a merge: the sum) in memory to the saved `model`.

    In nats per token. Raises `StageError` if it is more than rounding.
    """
    saved = probes.measure(model, made.ids)
    distance, bound = saved.distance(made), saved.bound(made)
    if not distance <= bound:
        raise StageError(
            Diagnostic(
                "saved-differs",
                f'what stage "{stage.name}" saved is not {_made(stage)}: {_differ(distance, bound)}',
                pointer=stage.at,
                hint="this is an error of ptspec or of a library below it: please report it",
            )
        )
    return distance
