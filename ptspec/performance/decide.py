"""Make the performance choices of a stage in order; each sees the results of those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.performance.choice import Choice, Effect, Rule, Situation, with_fields
from ptspec.performance.dear import group_by_length, packing, padding_free, tf32
from ptspec.performance.free import (
    adapter_inputs,
    attention,
    checkpointing,
    head,
    passes,
    prompts,
    reference,
    tokenising,
)
from ptspec.recipe.plan import Performance, Stage

FREE: tuple[Rule, ...] = (
    attention.choose,
    checkpointing.choose,
    passes.choose,
    reference.choose,
    prompts.choose,
    head.choose,
    adapter_inputs.choose,
    tokenising.choose,
)
DEAR: tuple[Rule, ...] = (packing.propose, padding_free.propose, group_by_length.propose, tf32.propose)


@dataclass(frozen=True)
class Decision:
    """The choices for a stage on a kind of device (`Machine.kind`), made before its first step."""

    performance: Performance
    device: str
    choices: tuple[Choice, ...] = ()

    @property
    def taken(self) -> tuple[Choice, ...]:
        """The applied choices."""
        return tuple(choice for choice in self.choices if choice.effect is Effect.FREE)

    @property
    def proposed(self) -> tuple[Choice, ...]:
        """The choices that would change what is learned."""
        return tuple(choice for choice in self.choices if choice.effect is Effect.DEAR)

    @property
    def told(self) -> tuple[Choice, ...]:
        """The choices that a plan shows."""
        return tuple(choice for choice in self.choices if choice.effect is not Effect.DEAR)

    @property
    def values(self) -> Mapping[str, Any]:
        """Field -> value of the applied choices."""
        return {name: value for choice in self.taken for name, value in choice.values.items()}

    def applied(self, stage: Stage) -> Stage:
        """Return `stage` with the applied choices in its config; the recipe's values take precedence."""
        values = {name: value for name, value in self.values.items() if name not in stage.config}
        return with_fields(stage, values)

    @property
    def words(self) -> str:
        """The applied choices in one line."""
        return " · ".join(choice.about for choice in self.taken)


def decide(performance: Performance, situation: Situation) -> Decision:
    """Return the choices for `situation.stage`; for a plan also those that would change what is learned."""
    kind = situation.machine.kind
    if performance is Performance.OFF:
        return Decision(performance, kind)
    found: list[Choice] = []
    for rule in FREE:
        for choice in rule(situation):
            found.append(choice)
            situation = situation.with_choice(choice)
    if situation.is_planned:
        found += [choice for rule in DEAR for choice in rule(situation)]
    return Decision(performance, kind, tuple(found))
