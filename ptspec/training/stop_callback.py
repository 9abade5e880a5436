"""Stop on request: a signal or a time limit ends after the present step, and saves."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.processes import current
from ptspec.training.stop_request import StopRequest


class StopCallback(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Saves and stops after the step during which a stop was requested."""

    def __init__(self, stop_request: StopRequest) -> None:
        self.stop_request = stop_request

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Agree between processes whether to stop; save and stop if so."""
        team, reason = current(), self.stop_request.reason
        if not team.any(reason is not None):
            return
        if not team.alone:  # one of them has received it
            self.stop_request.ask(next(one for one in team.gathered(reason) if one is not None))
        control.should_save = True
        control.should_training_stop = True
