"""The vocabulary in which a method is described. Data only: no torch, no TRL import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Rows(Enum):
    """What a row must be for a method, in TRL's terms for dataset types."""

    PROMPT_COMPLETION = "prompt-completion"
    PREFERENCE = "preference"
    UNPAIRED_PREFERENCE = "unpaired preference"
    PROMPT_ONLY = "prompt-only"


class Yields(Enum):
    POLICY = "policy"
    REWARD_MODEL = "reward model"


class Feedback(Enum):
    """What an online method asks for while it trains."""

    NONE = "none"
    REWARDS = "rewards"
    JUDGE_OR_REWARDS = "judge or rewards"


@dataclass(frozen=True)
class Headline:
    """A logged metric worth showing while the stage trains: TRL's key, a short label, a format spec.

    `void_at_zero_of`: another logged metric; where that is exactly 0 this one says nothing. (TRL counts a
    pair as lost where its margin is 0, which all are before the first step: an accuracy of 0 of nothing
    wrong.)
    """

    key: str
    label: str
    format: str = ".2f"
    void_at_zero_of: str | None = None

    def value(self, logged: Mapping[str, float]) -> float | None:
        """What of one logged step is to be shown; None where there is nothing."""
        if self.void_at_zero_of is not None and logged.get(self.void_at_zero_of) == 0:
            return None
        return logged.get(self.key)


@dataclass(frozen=True)
class Default:
    """A config value that a method takes where the recipe is silent and TRL's default does not fit; `reason`
    says why, in one clause."""

    name: str
    value: object
    reason: str


@dataclass(frozen=True)
class Guide:
    """What `pt methods METHOD` tells: one screen for someone who chooses. `after`: what it usually starts
    from."""

    after: str
    when: str
    how: str
    pros: tuple[str, ...]
    cons: tuple[str, ...]
    fields: tuple[str, ...]
    example_row: str
    example_stage: str


@dataclass(frozen=True)
class Method:
    """One post-training method.

    `trainer` and `config` are "module:Class" strings, resolved only when a stage is about to train.
    `reference` says whether the method compares the policy with a frozen reference policy;
    `reference_unless_zero` names the config field that switches it off at 0 (and at TRL's default).
    `own_defaults` are the config values where the method's default is not TRL's.
    `renders_rows`: whether TRL's trainer hands a row's tools and chat_template_kwargs to the chat template;
    of another we render the rows.
    `recasts_quantised`: whether TRL's trainer casts parts of a quantised model that it puts an adapter on, so
    that it computes under autocast only; such a trainer is given the model with its adapter on.
    `starter` is the config that `pt init` writes: for LoRA, so about ten times the learning rate of full
    fine-tuning.
    `learns_references`: whether the loss holds the likelihood of the reference answers; after another method
    that likelihood is described, not judged.
    `fused_head`: whether TRL's trainer gives the model its fused head (`add_fused_lm_head`).
    `takes_no_stream`: why its trainer needs all rows before it begins; None where they may be streamed.
    `owned` adds to the fields that the interpreter sets for every method: name -> where it goes.
    """

    name: str
    title: str
    trainer: str
    config: str
    rows: Rows
    yields: Yields
    feedback: Feedback
    online: bool
    reference: bool
    headline: tuple[Headline, ...]
    paper: str
    starter: Mapping[str, object]
    guide: Guide
    own_defaults: tuple[Default, ...] = ()
    owned: Mapping[str, str] = field(default_factory=dict)
    reference_unless_zero: str | None = None
    renders_rows: bool = True
    recasts_quantised: bool = False
    learns_references: bool = False
    fused_head: bool = True
    takes_no_stream: str | None = None

    @property
    def defaults(self) -> Mapping[str, object]:
        """`own_defaults` as config: name -> value."""
        return {default.name: default.value for default in self.own_defaults}
