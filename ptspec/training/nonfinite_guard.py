"""Stop a stage at a non-finite loss or gradient before it reaches the weights, and name its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.diagnostics import Diagnostic
from ptspec.processes import current
from ptspec.recipe.hints import first_of
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Stage
from ptspec.training.data_order import rows_of_step
from ptspec.training.engines import around_update

SHOWN = 8
"""Number of rows that are named; a batch may have hundreds."""

Placed = Callable[[Sequence[int]], Sequence[str]]
"""Indices of training rows -> where each comes from, in words."""


class NonfiniteGuard(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Checks every loss and gradient norm of `trainer` before the optimizer step.

    Costs one comparison per step, and on a GPU one synchronisation. With float16 a gradient may overflow and
    its scaler skips the step, so that only the loss is checked. DeepSpeed changes the weights within the
    backward pass, but skips non-finite gradients: losses are checked before.
    """

    def __init__(self, stage: Stage, trainer: Any, placed: Placed) -> None:
        self.stage = stage
        self.trainer = trainer
        self.placed = placed
        self.before: float | None = None
        self._losses: list[torch.Tensor] = []
        self._norm: Any = None
        self._backward, self._get_grad_norm = trainer.accelerator.backward, trainer._get_grad_norm
        trainer.accelerator.backward, trainer._get_grad_norm = self._with_loss, self._with_norm

    def _with_loss(self, loss: torch.Tensor, **kwargs: Any) -> None:
        self._losses.append(loss.detach())
        self._backward(loss, **kwargs)

    def _with_norm(self, *args: Any, **kwargs: Any) -> Any:
        self._norm = self._get_grad_norm(*args, **kwargs)
        return self._norm

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check losses before DeepSpeed's update within the backward pass."""
        around_update(self.trainer, lambda: self._check_losses(state, args), lambda changed: None)

    def _check_losses(self, state: TrainerState, args: TrainingArguments) -> None:
        self._check(torch.stack(self._losses).tolist(), None, state, args)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the losses and the gradient norm of the step. Raises `StageError` if one is not finite."""
        norm, losses = self._norm, torch.stack(self._losses)
        self._norm, self._losses = None, []
        if hasattr(norm, "full_tensor"):
            norm = norm.full_tensor()  # a sharded model's
        also = [] if norm is None else [torch.as_tensor(norm).reshape(1).to(losses)]
        values = torch.cat([losses, *also]).tolist()
        self._check(values[: len(losses)], values[len(losses)] if also else None, state, args)
        self.before = values[len(losses)] if also else None

    def _check(
        self, losses: list[float], norm: float | None, state: TrainerState, args: TrainingArguments
    ) -> None:
        broken = next((number for number, loss in enumerate(losses) if not math.isfinite(loss)), None)
        told = None
        if broken is not None:
            told = self._fault("loss", state, args, broken)
        elif norm is not None and not math.isfinite(norm) and not self._may_overflow():
            told = self._fault("gradient norm", state, args, None)
        # The norm is that of all processes together: the one with the loss names its rows.
        current().agree(told, first=broken is not None)

    def _may_overflow(self) -> bool:
        return bool(self.trainer.accelerator.mixed_precision == "fp16")

    def _fault(
        self, what: str, state: TrainerState, args: TrainingArguments, batch: int | None
    ) -> Diagnostic:
        before = "" if self.before is None else f"; gradient norm the step before: {self.before:.2g}"
        limit = args.max_grad_norm or "unset"
        places = self.placed(rows_of_step(self.trainer, state.global_step, batch))
        rows = (f"rows of this step: {first_of(places, SHOWN)}",) if places else ()
        return Diagnostic(
            "not-a-number",
            f"{self.stage.name}, step {state.global_step + 1} of {state.max_steps}: "
            f"the {what} is not a number{before}",
            pointer=join(self.stage.at, "config"),
            hint=f"a lower learning_rate (now {args.learning_rate:g}) or max_grad_norm (now {limit})",
            notes=(*rows, "the weights are those of the step before"),
        )
