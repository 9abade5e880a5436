"""Stopping in time: a signal or a time limit ends the step that is under way, and saves."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.training.stop_request import StopRequest


class Stopping(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Saves and stops after the step during which a stop was requested."""

    def __init__(self, stop_request: StopRequest) -> None:
        self.stop_request = stop_request

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.stop_request.reason is not None:
            control.should_save = True
            control.should_training_stop = True
