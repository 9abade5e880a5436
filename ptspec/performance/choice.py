"""The type of a performance choice, and the input it is made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from ptspec.performance.machine import Machine
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import ModelSpec, Stage
from ptspec.recipe.shape import ModelShape


class Effect(Enum):
    """The effect of a choice.

    FREE changes only rounding and is applied; DEAR changes what is learned and is proposed; KEPT is TRL's
    value with the reason to keep it; LEFT would be free, but the recipe sets another value.
    """

    FREE = "free"
    DEAR = "dear"
    KEPT = "kept"
    LEFT = "left"


@dataclass(frozen=True)
class Choice:
    """A performance choice.

    `values`: fields of the method's TRL config, or of `OWN_FIELDS`, that belong together. `about`: their
    meaning in words. `gain`: the estimated speed-up factor; None if unknown.
    """

    values: Mapping[str, Any]
    about: str
    reason: str
    gain: float | None = None
    effect: Effect = Effect.FREE

    @property
    def words(self) -> str:
        """The choice in words: "no gradient checkpointing (fits without: about 1.3 × faster)"."""
        faster = self.gain is not None and round(self.gain, 1) > 1
        return f"{self.about} ({self.reason}{f': about {self.gain:.1f} × faster' if faster else ''})"


ROW_ORDER = "row_order"
"""Not a TRL field: the order in which a step's rows are split into passes."""
ATTENTION = "attn_implementation"
"""A field of the model: the attention kernel during training."""
HEAD = "head_positions"
"""Not a TRL field: the positions that the fused head scores."""
LABELS = "labels"
"""Value of `HEAD`: labelled positions only."""
PROMPTS = "pairs"
"""Not a TRL field: how often a pair's prompt is read."""
SHARED = "prompt read once"
"""Value of `PROMPTS`: once for both answers."""
ADAPTER_INPUTS = "adapter_inputs"
"""Not a TRL field: the dtype of an adapter's inputs."""
AUTOCAST = "autocast"
"""Value of `ADAPTER_INPUTS`: autocast's dtype, without a cast to the adapter's."""
OWN_FIELDS = (ROW_ORDER, ATTENTION, HEAD, PROMPTS, ADAPTER_INPUTS)
"""Fields of choices that are in no TRL config."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of sampled rows of a stage, in the order of the file.

    `padded`: per row, of a pair the prompt with the longer answer; `tokens`: of all sequences of a row
    together.
    """

    padded: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Mean of `padded`, in tokens."""
        return sum(self.padded) / len(self.padded)

    @property
    def longest(self) -> int:
        """Maximum of `padded`, in tokens."""
        return max(self.padded)


Need = Callable[[Stage], int | None]
"""Bytes that a stage needs on its device, in each process; None if unknown."""


@dataclass(frozen=True)
class Situation:
    """A stage on a machine.

    `rows` of its data and `shape` of its model, None if unknown; `measure` returns the lengths of some rows,
    `need` the memory of the stage with another config. `is_planned`: report rejected choices too; a run
    reports only those it applies.
    """

    stage: Stage
    model: ModelSpec
    machine: Machine
    shape: ModelShape | None
    rows: int | None
    measure: Callable[[], Lengths | None]
    need: Need
    is_planned: bool = True

    @cached_property
    def settings(self) -> EffectiveConfig:
        """The effective config of the stage on this machine."""
        return EffectiveConfig(self.stage, self.stage.compute, gpu=not self.machine.is_cpu)

    @cached_property
    def alone(self) -> EffectiveConfig:
        """The effective config of a single process."""
        one = replace(self.stage.compute, processes=1, nodes=1)
        return EffectiveConfig(replace(self.stage, compute=one), one, gpu=not self.machine.is_cpu)

    @cached_property
    def lengths(self) -> Lengths | None:
        """Lengths of some rows; None if no row could be measured."""
        found = self.measure()
        return found if found is not None and found.padded and found.longest else None

    def is_given(self, *fields: str) -> bool:
        """Return whether the recipe or the method sets one of the config fields."""
        return any(name in self.stage.config or name in self.stage.method.defaults for name in fields)

    def has_field(self, name: str) -> bool:
        """Return whether the method's TRL config has the field."""
        return name in _fields(self.stage.method.name)

    def needed(self, **fields: object) -> int | None:
        """Return the bytes that the stage needs with `fields` in its config."""
        return self.need(with_fields(self.stage, fields))

    def with_choice(self, choice: Choice) -> Situation:
        """Return the situation after `choice` was applied, for later choices."""
        return (
            self
            if choice.effect is not Effect.FREE
            else replace(self, stage=with_fields(self.stage, choice.values))
        )


def with_fields(stage: Stage, fields: Mapping[str, Any]) -> Stage:
    """Return `stage` with those of `fields` that TRL's config has."""
    own = {name: value for name, value in fields.items() if name not in OWN_FIELDS}
    return replace(stage, config={**stage.config, **own}) if own else stage


def _fields(method: str) -> Mapping[str, Any]:
    from ptspec.shipped import schema

    fields: Mapping[str, Any] = schema(f"trl/{method}.schema.json")["properties"]
    return fields


Rule = Callable[[Situation], "tuple[Choice, ...]"]
"""A choice as a function of the situation."""
