"""A choice, and all that one is made from."""

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
    """FREE changes nothing but rounding and is taken; DEAR changes what is learned and is proposed; KEPT is
    TRL's value with the reason why it stays; LEFT would be free, and the recipe says otherwise."""

    FREE = "free"
    DEAR = "dear"
    KEPT = "kept"
    LEFT = "left"


@dataclass(frozen=True)
class Choice:
    """`values`: fields of the method's TRL config, or of `OWN_FIELDS`, that belong together.

    `about`: what they come to, in words. `gain`: how many times faster, estimated; None where that is not
    known."""

    values: Mapping[str, Any]
    about: str
    reason: str
    gain: float | None = None
    effect: Effect = Effect.FREE

    @property
    def words(self) -> str:
        """ "no gradient checkpointing (fits without: about 1.3 × faster)"."""
        faster = self.gain is not None and round(self.gain, 1) > 1
        return f"{self.about} ({self.reason}{f': about {self.gain:.1f} × faster' if faster else ''})"


ROW_ORDER = "row_order"
"""No field of TRL: in which order the rows of a step are cut into passes."""
ATTENTION = "attn_implementation"
"""A field of the model: the attention kernel while the stage trains."""
HEAD = "head_positions"
"""No field of TRL: which positions its fused head scores."""
LABELS = "labels"
"""Of `HEAD`: those that have a label."""
PROMPTS = "pairs"
"""No field of TRL: how often the prompt of a pair is read."""
SHARED = "prompt read once"
"""Of `PROMPTS`: for both answers together."""
ADAPTER_INPUTS = "adapter_inputs"
"""No field of TRL: the numbers in which an adapter gets its inputs."""
AUTOCAST = "autocast"
"""Of `ADAPTER_INPUTS`: those that autocast computes with, not first the adapter's own."""
OWN_FIELDS = (ROW_ORDER, ATTENTION, HEAD, PROMPTS, ADAPTER_INPUTS)
"""Fields of choices that stand in no TRL config."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of some rows of a stage as its trainer holds them, in the order of the file: of a pair the
    longer answer with the prompt (`padded`), and of all sequences of a row together (`tokens`)."""

    padded: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def mean(self) -> float:
        return sum(self.padded) / len(self.padded)

    @property
    def longest(self) -> int:
        return max(self.padded)


Need = Callable[[Stage], int | None]
"""Bytes that a stage needs on its device, in each process; None where they are not known."""


@dataclass(frozen=True)
class Situation:
    """A stage on a machine.

    `rows` of its data, `shape` of its model, None where not known; `measure` gives the lengths of some rows,
    `need` the memory of the stage with another config. `is_planned`: what is not taken is told too; a run
    asks for no more than it takes."""

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
        return EffectiveConfig(self.stage, self.stage.compute, gpu=not self.machine.is_cpu)

    @cached_property
    def alone(self) -> EffectiveConfig:
        """The settings as one process would have them, whose rows several share."""
        one = replace(self.stage.compute, processes=1, nodes=1)
        return EffectiveConfig(replace(self.stage, compute=one), one, gpu=not self.machine.is_cpu)

    @cached_property
    def lengths(self) -> Lengths | None:
        """None too where no row could be measured."""
        found = self.measure()
        return found if found is not None and found.padded and found.longest else None

    def is_given(self, *fields: str) -> bool:
        """Whether the recipe or the method gives one of the config fields."""
        return any(name in self.stage.config or name in self.stage.method.defaults for name in fields)

    def has_field(self, name: str) -> bool:
        """Whether the method's TRL config has the field."""
        return name in _fields(self.stage.method.name)

    def needed(self, **fields: object) -> int | None:
        """Bytes that the stage needs with `fields` in its config."""
        return self.need(with_fields(self.stage, fields))

    def with_choice(self, choice: Choice) -> Situation:
        """The situation once `choice` was taken: what later ones go by."""
        return (
            self
            if choice.effect is not Effect.FREE
            else replace(self, stage=with_fields(self.stage, choice.values))
        )


def with_fields(stage: Stage, fields: Mapping[str, Any]) -> Stage:
    """`stage` with those of `fields` in its config that are TRL's."""
    own = {name: value for name, value in fields.items() if name not in OWN_FIELDS}
    return replace(stage, config={**stage.config, **own}) if own else stage


def _fields(method: str) -> Mapping[str, Any]:
    from ptspec.shipped import schema

    fields: Mapping[str, Any] = schema(f"trl/{method}.schema.json")["properties"]
    return fields


Rule = Callable[[Situation], "tuple[Choice, ...]"]
"""One choice: what of it holds in a situation."""
