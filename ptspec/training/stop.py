"""Stopping in time: a signal or a time limit ends the step and saves; a broken loss leaves at once."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.recipe.plan import Stage
from ptspec.training.checkpoints import PREFIX, seal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Wish:
    """Whether somebody wants the run to end, and why. A second signal is not caught."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.by_signal: str | None = None

    @property
    def reason(self) -> str | None:
        if self.by_signal is None and self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time given by --max-time is over"
        return self.by_signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catches SIGINT and SIGTERM while this lasts."""
        before = {number: signal.signal(number, self._caught) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.by_signal = f"{signal.Signals(number).name} was received"
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL if each is not signal.SIGINT else signal.default_int_handler)


class Stopping(TrainerCallback):  # type: ignore[misc]
    """Saves and stops after the step in which the wish came; seals every checkpoint."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.wish.reason is not None:
            control.should_save = True
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"{PREFIX}{state.global_step}")


class Finite(TrainerCallback):  # type: ignore[misc]
    """Stops a stage whose loss or gradient is no number, before such weights are saved."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.norm: float | None = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        for name in ("loss", "grad_norm"):
            value = logs.get(name)
            if isinstance(value, float) and not math.isfinite(value):
                raise StageError(self._fault(name, state, args))
        self.norm = logs.get("grad_norm", self.norm)

    def _fault(self, name: str, state: TrainerState, args: TrainingArguments) -> Diagnostic:
        what = "loss" if name == "loss" else "gradient norm"
        before = "" if self.norm is None else f"; gradient norm the step before: {self.norm:.2g}"
        limit = args.max_grad_norm or "unset"
        return Diagnostic(
            "not-a-number",
            f"{self.stage.name}, step {state.global_step} of {state.max_steps}: "
            f"the {what} is not a number{before}",
            pointer=f"{self.stage.at}/config",
            hint=f"a lower learning_rate (now {args.learning_rate:g}) or max_grad_norm (now {limit})",
            notes=("what was saved before this step is kept; the same command goes on from there",),
        )
