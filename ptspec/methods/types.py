"""The types that describe a method. Data only: imports neither torch nor TRL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ptspec.methods.settings import Clash, Default, Variant


class Rows(Enum):
    """The columns that a method needs, as TRL's dataset types."""

    PROMPT_COMPLETION = "prompt-completion"
    PREFERENCE = "preference"
    UNPAIRED_PREFERENCE = "unpaired preference"
    PROMPT_ONLY = "prompt-only"


class Yields(Enum):
    """What a method trains: a policy or a reward model."""

    POLICY = "policy"
    REWARD_MODEL = "reward model"


class Encoding(Enum):
    """How TRL's trainer tokenises a row (`ptspec.data.tokens.encode`)."""

    COMPLETION = "a completion behind its prompt, a chat or a text"
    ANSWERS = "each answer behind the prompt"
    SCORED = "each answer with the prompt, scored as a whole"
    TEXTS = "prompt and answers rendered to text first, their ends put on by the trainer"
    PROMPT = "the prompt alone"


class Cut(Enum):
    """How TRL's trainer handles a row that is too long (`ptspec.data.tokens.truncation`)."""

    ROW = "cut; dropped where nothing to learn is left"
    BEHIND_PROMPT = "cut; dropped where its prompt alone is as long"
    ANSWER = "its answers are cut, to nothing if need be"
    DROPPED = "dropped"
    NEVER = "prompts are not cut"


class Head(Enum):
    """How TRL computes with the last hidden states."""

    TILES = "it multiplies them with the head's weight itself, tile by tile"
    LEARNED_TILES = "the same, of learned tokens alone"
    LOGITS = "the whole model gives all logits"
    SCORE = "a head of its own gives one score"

    @property
    def is_tiled(self) -> bool:
        """Whether TRL multiplies with the head's weight itself, in tiles."""
        return self in (Head.TILES, Head.LEARNED_TILES)


class Mean(Enum):
    """What an optimizer step's loss is averaged over (`ptspec.performance.exactness`)."""

    TOKENS_OF_STEP = "all learned tokens of the step"
    ROWS = "the rows of each pass"
    PASS = "something that depends on which rows share a pass"


class Feedback(Enum):
    """What a method needs during training besides its rows."""

    NONE = "none"
    REWARDS = "rewards"
    JUDGE_OR_REWARDS = "judge or rewards"
    TEACHER = "teacher"


@dataclass(frozen=True)
class Headline:
    """A logged metric to show during training: TRL's key, a short label, a format spec.

    `void_at_zero_of`: another logged metric; if that is exactly 0 this one is not shown. (TRL counts a pair
    with margin 0 as lost, which all are before the first step: a meaningless accuracy of 0.)
    """

    key: str
    label: str
    format: str = ".2f"
    void_at_zero_of: str | None = None

    def value(self, logged: Mapping[str, float]) -> float | None:
        """Return the value to show of one logged step; None if there is none."""
        if self.void_at_zero_of is not None and logged.get(self.void_at_zero_of) == 0:
            return None
        return logged.get(self.key)


@dataclass(frozen=True)
class Guide:
    """The text of `pt methods METHOD`: one screen to choose by.

    `after`: what it usually starts from.
    """

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
    """How a method's trainer limits and tokenises rows.

    `length`: the config field with the maximum length of a row in tokens, None for a method without one;
    `length_of_null`: the value used for null. `joins_forms`: the trainer accepts tokenised rows, so that
    chats and plain text can be mixed. `note`: a remark that holds for every row and is not visible.
    """

    encoding: Encoding
    cut: Cut
    length: str | None
    length_of_null: int | None
    joins_forms: bool
    note: str | None


@dataclass(frozen=True)
class Loss:
    """What a forward pass takes, and what a step's loss depends on.

    `sequences`: per row, in one pass. `compares`: values of `loss_type` with which a row's loss depends on
    the other rows of its pass; `pools`: with which it is a mean over the tokens of a pass; `mismatched`: with
    which the policy scores answers of other rows too. `keeps_order`: rows must come in the prepared order.
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
    """The frozen policy that the policy is compared with: its start.

    `unless_zero`: the config field that switches it off at 0. `once`: its log-probabilities may be computed
    once before the first step, since the answers are fixed.
    """

    unless_zero: str | None
    once: bool


@dataclass(frozen=True)
class Sampling:
    """What an online method samples during training.

    `group`: the config field with the completions per prompt; None: one. `caches`: key-value caches held at
    once. `opponent`: the config field that chooses a second sampler, None if there is none.
    """

    group: str | None
    caches: int
    opponent: str | None


@dataclass(frozen=True)
class Measured:
    """What the trainer logs in evaluations during training, without the prefix "eval_".

    `of_reward`: suffixes of each reward's metrics; `best`: the metric that ranks steps.
    """

    metrics: tuple[str, ...]
    of_reward: tuple[str, ...]
    best: str


@dataclass(frozen=True)
class Starter:
    """What `pt init` writes.

    `config` (for LoRA, about ten times the rate of full fine-tuning) and the `stage`'s name.

    `choice`: among methods that fit the data the lowest is chosen by default; None: only on request. `leads`:
    other methods may follow it in one recipe; `follows`: this one then does by default.
    """

    stage: str
    config: Mapping[str, object]
    choice: int | None
    leads: bool
    follows: bool


@dataclass(frozen=True)
class Rates:
    """AdamW learning rates of TRL's documentation and published runs.

    The lowest and the highest, of full fine-tuning and of LoRA; `source` names them.
    """

    full: tuple[float, float]
    lora: tuple[float, float]
    source: str


@dataclass(frozen=True)
class Method:
    """One post-training method: every fact about it.

    No field has a default, so that a new method that omits one fails at import.

    `trainer` and `config` are "module:Class" strings, imported when a stage is about to train. `sampling`,
    `reference`: None for a method without. `own_defaults`: config values whose default is not TRL's.
    `renders_rows`: TRL's trainer passes a row's tools and chat_template_kwargs to the chat template; for
    others ptspec renders the rows. `recasts_quantised`: TRL's trainer casts parts of a quantised model that
    it adds an adapter to, which then needs autocast; such a trainer receives the model with its adapter and
    leaves that in float32. `selective_checkpointing`: the trainer knows "selective" in
    gradient_checkpointing_kwargs. `learns_references`: the loss contains the likelihood of the reference
    answers; after other methods that likelihood is described, not judged. `takes_no_stream`: why the trainer
    needs all rows first; None if they may be streamed. `owned`: further fields that the interpreter sets:
    name -> the recipe field. `needs`: config fields that have an effect only with certain values of another.
    `clashes`: values that TRL refuses together, or ignores. `field_types`: JSON Schema of fields whose
    annotation in TRL's config is too loose. `rates`: None for a method that does not train. `aliases`: other
    names; `in_place_of`: unsupported methods -> the message that offers this one instead, after its name.
    """

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
        """Whether it samples during training."""
        return self.sampling is not None

    @property
    def defaults(self) -> Mapping[str, object]:
        """`own_defaults` as config: name -> value."""
        return {default.name: default.value for default in self.own_defaults}

    def compares_rows(self, loss: object) -> bool:
        """Return whether a row's loss depends on the other rows of its pass.

        `loss`: the value or values of `loss_type`.
        """
        losses = loss if isinstance(loss, list | tuple) else (loss,)
        return any(one in self.loss.compares for one in losses)
