"""The vocabulary in which a method is described. Data only: no torch, no TRL import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ptspec.methods.settings import Clash, Default, Variant


class Rows(Enum):
    """What a row must be for a method, in TRL's terms for dataset types."""

    PROMPT_COMPLETION = "prompt-completion"
    PREFERENCE = "preference"
    UNPAIRED_PREFERENCE = "unpaired preference"
    PROMPT_ONLY = "prompt-only"


class Yields(Enum):
    POLICY = "policy"
    REWARD_MODEL = "reward model"


class Encoding(Enum):
    """How TRL's trainer makes tokens of a row (`ptspec.data.tokens.encode`)."""

    COMPLETION = "a completion behind its prompt, a chat or a text"
    ANSWERS = "each answer behind the prompt"
    SCORED = "each answer with the prompt, scored as a whole"
    TEXTS = "prompt and answers rendered to text first, their ends put on by the trainer"
    PROMPT = "the prompt alone"


class Cut(Enum):
    """What becomes of a row that is too long (`ptspec.data.tokens.truncation`)."""

    ROW = "cut; dropped where nothing to learn is left"
    BEHIND_PROMPT = "cut; dropped where its prompt alone is as long"
    ANSWER = "its answers are cut, to nothing if need be"
    DROPPED = "dropped"
    NEVER = "prompts are not cut"


class Head(Enum):
    """What TRL makes of the last hidden states."""

    TILES = "it multiplies them with the head's weight itself, tile by tile"
    LEARNED_TILES = "the same, of learned tokens alone"
    LOGITS = "the whole model gives all logits"
    SCORE = "a head of its own gives one score"

    @property
    def is_tiled(self) -> bool:
        """Whether TRL takes the head's weight and multiplies with it itself."""
        return self in (Head.TILES, Head.LEARNED_TILES)


class Mean(Enum):
    """Over what the loss of an optimizer step is a mean (`ptspec.performance.exactness`)."""

    TOKENS_OF_STEP = "all learned tokens of the step"
    ROWS = "the rows of each pass"
    PASS = "something that depends on which rows share a pass"


class Feedback(Enum):
    """What a method asks for while it trains, beside its rows."""

    NONE = "none"
    REWARDS = "rewards"
    JUDGE_OR_REWARDS = "judge or rewards"
    TEACHER = "teacher"


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
class Guide:
    """What `pt methods METHOD` tells: one screen for someone who chooses.

    `after`: what it usually starts from."""

    after: str
    when: str
    how: str
    pros: tuple[str, ...]
    cons: tuple[str, ...]
    fields: tuple[str, ...]
    example_row: str
    example_stage: str


@dataclass(frozen=True)
class Tokens:
    """`length` is the config field that says how long a row may be, None for a method that cuts none;
    `length_of_null`: what the trainer takes where that is null. `joins_forms`: whether its trainer takes rows
    that are tokens already, so that chats and plain text can be trained on together. `note`: what holds for
    every row and none shows."""

    encoding: Encoding
    cut: Cut
    length: str | None
    length_of_null: int | None
    joins_forms: bool
    note: str | None


@dataclass(frozen=True)
class Loss:
    """What a forward pass takes, and what a step's loss depends on.

    `sequences`: of a row, in one pass. `compares`: values of `loss_type` with which the loss of a row depends
    on the other rows of its pass; `pools`: with which it is a mean over the tokens of a pass; `mismatched`:
    with which the policy reads answers of other rows too. `keeps_order`: whether rows must come in the order
    in which they were prepared.
    """

    sequences: int
    head: Head
    mean: Mean
    compares: tuple[str, ...]
    pools: tuple[str, ...]
    mismatched: tuple[str, ...]
    keeps_order: bool


@dataclass(frozen=True)
class Reference:
    """The frozen policy that the policy is compared with: the one that came in.

    `unless_zero` is the config field that switches it off at 0. `once`: whether its log-probabilities may be
    taken once, before the first step, since the answers do not change."""

    unless_zero: str | None
    once: bool


@dataclass(frozen=True)
class Sampling:
    """What an online method samples while it trains.

    `group`: the config field with the completions of a prompt; None: one. `caches`: key-value caches at once.
    `opponent`: the config field that says what samples beside the policy, None where nothing does."""

    group: str | None
    caches: int
    opponent: str | None


@dataclass(frozen=True)
class Measured:
    """What the trainer logs when it is evaluated while it trains, without the prefix "eval_".

    `of_reward`: the parts of what it logs of each reward; `best`: the metric that shows how good a step is.
    """

    metrics: tuple[str, ...]
    of_reward: tuple[str, ...]
    best: str


@dataclass(frozen=True)
class Starter:
    """What `pt init` writes: `config` (for LoRA, so about ten times the learning rate of full fine-tuning)
    and the `stage`'s name.

    `choice`: the lowest of the methods that data are fit for is taken where none is asked for; None: only
    when asked. `leads`: whether other methods may follow it in one recipe; `follows`: whether this one then
    does, unasked.
    """

    stage: str
    config: Mapping[str, object]
    choice: int | None
    leads: bool
    follows: bool


@dataclass(frozen=True)
class Rates:
    """Learning rates with AdamW that TRL's documentation and published runs take: the lowest and the highest
    of full fine-tuning and of LoRA. `source` says whose."""

    full: tuple[float, float]
    lora: tuple[float, float]
    source: str


@dataclass(frozen=True)
class Method:
    """One post-training method: every fact about it.

    None has a default, so that a new method that forgets one fails when it is imported.

    `trainer` and `config` are "module:Class" strings, resolved only when a stage is about to train.
    `sampling`, `reference`: None for a method without. `own_defaults` are the config values where the
    method's default is not TRL's. `renders_rows`: whether TRL's trainer hands a row's tools and
    chat_template_kwargs to the chat template; of another we render the rows. `recasts_quantised`: whether
    TRL's trainer casts parts of a quantised model that it puts an adapter on, so that it computes under
    autocast only; such a trainer is given the model with its adapter on, and leaves that in float32.
    `selective_checkpointing`: whether TRL's trainer knows "selective" in gradient_checkpointing_kwargs.
    `learns_references`: whether the loss holds the likelihood of the reference answers; after another method
    that likelihood is described, not judged. `takes_no_stream`: why its trainer needs all rows before it
    begins; None where they may be streamed. `owned` adds to the fields that the interpreter sets for every
    method: name -> where it goes. `needs`: config fields that have an effect only where another field has one
    of some values. `clashes`: values that TRL refuses together, or passes over. `field_types`: the JSON
    Schema of fields whose annotation in TRL's config is looser than what the class takes, or says nothing.
    `rates`: None of a method that trains nothing. `aliases`: other names of the method; `in_place_of`:
    methods that are not here -> what is said of this one in their place, after its name."""

    name: str
    title: str
    trainer: str
    config: str
    rows: Rows
    yields: Yields
    feedback: Feedback
    tokens: Tokens
    loss: Loss
    reference: Reference | None
    sampling: Sampling | None
    learns_references: bool
    renders_rows: bool
    recasts_quantised: bool
    selective_checkpointing: bool
    takes_no_stream: str | None
    own_defaults: tuple[Default, ...]
    owned: Mapping[str, str]
    field_types: Mapping[str, Mapping[str, Any]]
    needs: Mapping[str, tuple[str, tuple[object, ...]]]
    clashes: tuple[Clash, ...]
    variants: tuple[Variant, ...]
    aliases: tuple[str, ...]
    in_place_of: Mapping[str, str]
    measured: Measured
    headline: tuple[Headline, ...]
    paper: str
    starter: Starter
    rates: Rates | None
    guide: Guide

    @property
    def online(self) -> bool:
        """Whether it samples while it trains."""
        return self.sampling is not None

    @property
    def defaults(self) -> Mapping[str, object]:
        """`own_defaults` as config: name -> value."""
        return {default.name: default.value for default in self.own_defaults}

    def compares_rows(self, loss: object) -> bool:
        """Whether with `loss`, the value or values of `loss_type`, the loss of a row depends on the others of
        its pass."""
        losses = loss if isinstance(loss, list | tuple) else (loss,)
        return any(one in self.loss.compares for one in losses)
