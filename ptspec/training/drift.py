"""Detect a diverging policy during training: collapsing entropy, or growing KL from its reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ptspec.events import Listener, Warned
from ptspec.recipe.plan import Stage

ENTROPY = "entropy"
KL = "kl"
"""TRL's GRPO and RLOO key: mean over completion tokens, in nats per token. Needs a beta above 0."""

WINDOW = 5
"""Logs whose median is compared: single logs of few prompts are noisy, and one token can make a KL of
hundreds."""
LEAST_ENTROPY = 0.05
"""Share of the initial entropy; healthy stages end at .2 or more (docs/decisions/0054)."""
LENGTH = "completions/mean_length"
"""Completion tokens, in the same log."""
MOST_KL = 2.0
"""Nats per token; a token of the policy is then e² ≈ 7 times as probable as under its reference."""
LEAST_KL_OF_COMPLETION = 10.0
"""Nats per completion below which nothing is reported: 3 nats over a one-token answer is a policy that has
learned what its reference gave 5 % probability."""


@dataclass(frozen=True)
class Drift:
    """A diverging metric, by TRL's key, described in words."""

    key: str
    words: str


def drifts(history: Sequence[Mapping[str, Any]]) -> Iterator[Drift]:
    """Yield the metrics that diverge in the last logs of a history, compared with its first."""
    entropy, kl = _windows(history, ENTROPY), _windows(history, KL)
    if entropy and entropy.last < LEAST_ENTROPY * entropy.first:
        fall = f"entropy fell to {entropy.last:.2g} of the {entropy.first:.2g} nats a token it began with"
        yield Drift(ENTROPY, fall)
    length = _windows(history, LENGTH)
    whole = kl.last * length.last if kl and length else math.inf
    if kl and kl.last > MOST_KL and kl.last > kl.before and whole > LEAST_KL_OF_COMPLETION:
        yield Drift(KL, f"KL to the reference is {kl.last:.2g} nats a token and growing")


@dataclass(frozen=True)
class _Windows:
    """Medians of the first logs, of the last, and of those before the last."""

    first: float
    before: float
    last: float


def _windows(history: Sequence[Mapping[str, Any]], key: str) -> _Windows | None:
    """Return None before there are two windows of logs."""
    latest = list(islice(_values(reversed(history), key), 2 * WINDOW))
    if len(latest) < 2 * WINDOW:
        return None
    first = list(islice(_values(history, key), WINDOW))
    return _Windows(median(first), median(latest[WINDOW:]), median(latest[:WINDOW]))


def _values(history: Iterable[Mapping[str, Any]], key: str) -> Iterator[float]:
    return (entry[key] for entry in history if isinstance(entry.get(key), int | float))


class Watch(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Warns once per kind of drift, in the step where it is first seen, with settings to change."""

    def __init__(self, stage: Stage, listener: Listener) -> None:
        self.stage = stage
        self.listener = listener
        self.told: set[str] = set()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check the log history for drift."""
        for drift in drifts(state.log_history):
            if drift.key not in self.told:
                self.told.add(drift.key)
                text = f"step {state.global_step}: {drift.words}; {self._advice(args)}"
                self.listener(Warned(text, self.stage.name))

    def _advice(self, args: TrainingArguments) -> str:
        """Return the settings that limit the policy, with their values."""
        beta = getattr(args, "beta", 0.0)
        changes = [f"a lower learning_rate (now {args.learning_rate:g})"]
        if self.stage.method.reference is not None:
            changes.append(f"a higher beta (now {beta:g})")
        own = self.stage.method.defaults.get("adam_beta1", args.adam_beta1)
        if own != args.adam_beta1:
            changes.append(f"adam_beta1 {own:g} (now {args.adam_beta1:g})")
        return f"look at its completions; what holds it: {', '.join(changes)}"
