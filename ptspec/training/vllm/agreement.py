"""Check that the server samples from the trained policy, by comparing token log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.events import Listener, Warned

SAMPLED = "sampling/sampling_logp_difference/mean"
"""TRL's own comparison: the mean over sampled tokens, in nats, if it corrects for the difference."""
PROBES = "sampling/probe_logp_difference"
"""ptspec's comparison over the probes, if TRL compares nothing."""
TIMES = 10.0
LEAST = 1e-3
"""A difference is reported above this multiple of the initial one and this many nats per token: rounding
stays constant, while a policy that the server lacks moves away."""


class Agreement(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Warns once, in the step in which server and policy first differ."""

    def __init__(self, stage: str, beginning: float, listener: Listener, *, samples_plainly: bool) -> None:
        """Set the bound from `beginning`, the difference on the probes before the first step, nats per token.

        `samples_plainly`: sampled tokens come from the policy's own distribution, so that TRL's numbers
        compare it; those of a truncated distribution (top_p, …) do not.
        """
        self.stage = stage
        self.bound = max(LEAST, TIMES * beginning)
        self.keys = (SAMPLED, PROBES) if samples_plainly else (PROBES,)
        self.listener = listener
        self.told = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Compare the logged differences with the bound."""
        found = [(logs or {}).get(key) for key in self.keys]
        most = max((value for value in found if isinstance(value, int | float)), default=0.0)
        if most <= self.bound or self.told:
            return
        self.told = True
        text = (
            f"step {state.global_step}: the server's log-probabilities differ from the policy's by "
            f"{most:.2g} nats a token (up to {self.bound:.2g} is what rounding explains): it does not sample "
            "from the policy as it is, or computes in fewer bits; look at the server's log"
        )
        self.listener(Warned(text, self.stage))


class ProbeLog:
    """Logs the difference on the probes after each synchronisation, with the trainer's metrics."""

    def __init__(self, trainer: Any, difference: Callable[[], float]) -> None:
        self._trainer = trainer
        self._difference = difference

    def __call__(self) -> None:
        """Log the present difference on the probes."""
        mode = "train" if self._trainer.model.training else "eval"
        self._trainer._metrics[mode][PROBES].append(self._difference())
