"""The typed plan: the meaning of a valid recipe.

Types only. `ptspec.recipe.resolve` makes a `Plan` from a document; later code reads only the plan. `at` is
the JSON pointer of the node in the recipe, so that a later failure can be shown at its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptspec.methods.types import Method
from ptspec.recipe.merge_spec import MergeSpec
from ptspec.recipe.paths import Places
from ptspec.recipe.signals import JudgeSpec, RewardSpec, SecondModel
from ptspec.recipe.sources import AnySource
from ptspec.recipe.trl_defaults import trl_defaults

if TYPE_CHECKING:
    from ptspec.recipe.shape import ModelShape

BASE = "base"


class Handover(Enum):
    """How a stage uses the incoming adapter; the reference is always the incoming policy."""

    CONTINUE = "continue"
    MERGE = "merge"
    STACK = "stack"


class OnFail(Enum):
    """What a failed check does: stop the run, or warn."""

    STOP = "stop"
    WARN = "warn"


@dataclass(frozen=True)
class HubModel:
    """What is known of a hub model before loading.

    The folder with its config and tokenizer files, and its shape, if the headers of its weights were read.
    """

    folder: Path
    shape: ModelShape | None = None


@dataclass(frozen=True)
class ModelSpec:
    """The base model; `path` is an existing folder (absolute) or a hub id.

    `chat_template` is the template's text; `template_file` its file, if any. `additional_special_tokens` are
    added to the tokenizer, and the embeddings grow by them. `eos_token` and `pad_token` replace the
    tokenizer's. `hub` is set for a hub model that was checked.
    """

    path: str
    local: bool
    revision: str | None = None
    dtype: str | None = None
    attn_implementation: str | None = None
    chat_template: str | None = None
    template_file: Path | None = None
    additional_special_tokens: tuple[str, ...] = ()
    eos_token: str | None = None
    pad_token: str | None = None
    trust_remote_code: bool = False
    at: str = "/model"
    hub: HubModel | None = field(default=None, compare=False, repr=False)

    @property
    def folder(self) -> Path | None:
        """The folder with its config and tokenizer files; None for a hub model that was not checked."""
        if self.local:
            return Path(self.path)
        return self.hub.folder if self.hub is not None else None


@dataclass(frozen=True)
class AdapterSpec:
    """The adapter of a stage. With neither switch: full fine-tuning.

    `lora` holds peft.LoraConfig fields, `quantization` transformers.BitsAndBytesConfig fields.
    """

    use_lora: bool
    use_qlora: bool = False
    lora: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    at: str = "/adapter"


@dataclass(frozen=True)
class CheckSpec:
    """A check: bounds of a metric, absolute or relative to another policy, and what a failure does."""

    metric: str
    min: float | None = None
    max: float | None = None
    min_gain: float | None = None
    max_increase: float | None = None
    over: str | None = None
    on_fail: OnFail = OnFail.STOP
    confidence: float | None = None
    at: str = "/checks"


@dataclass(frozen=True)
class VariantSpec:
    """A combination of a matrix: its stage (`of`), its number from 1, and the value of each axis."""

    of: str
    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class PickSpec:
    """How to choose among `variants`: the best `metric` of those that pass the checks `keep`."""

    metric: str
    variants: tuple[str, ...]
    keep: tuple[CheckSpec, ...] = ()
    at: str = "/stages"


ZERO_STAGE = 2
"""Default ZeRO stage of DeepSpeed."""


@dataclass(frozen=True)
class ComputeSpec:
    """Where and how a stage runs.

    `processes`: per node; `strategy`: how they share a model (None: DDP). `keep_effective_batch`: an
    optimizer step has a single process's rows, whatever their number. `fsdp`, `deepspeed`, `ray`: options
    under accelerate's, DeepSpeed's and Ray's names.
    """

    launcher: str = "local"
    processes: int = 1
    nodes: int = 1
    strategy: str | None = None
    keep_effective_batch: bool = True
    precision: str | None = None
    fsdp: Mapping[str, Any] | None = None
    deepspeed: Mapping[str, Any] | None = None
    ray: Mapping[str, Any] | None = None
    vllm: Mapping[str, Any] | None = None
    at: str = "/compute"

    @property
    def world(self) -> int:
        """Number of processes on all nodes."""
        return self.processes * self.nodes

    @property
    def engine(self) -> str | None:
        """The engine that shards what is trained: "fsdp" or "deepspeed"; None for neither."""
        return self.strategy if self.world > 1 and self.strategy in ("fsdp", "deepspeed") else None

    @property
    def zero_stage(self) -> int | None:
        """DeepSpeed's ZeRO stage; None without DeepSpeed."""
        if self.engine != "deepspeed":
            return None
        stage = (self.deepspeed or {}).get("zero_optimization", {}).get("stage", ZERO_STAGE)
        return int(stage)

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of the weights."""
        return self.engine == "fsdp" or self.zero_stage == 3


@dataclass(frozen=True)
class Stage:
    """One stage, which trains a policy, or makes one of others.

    `parent`: an earlier stage's name, "base", or a path to an adapter or model. `handover`: None if no
    adapter comes in. `config`: the method's TRL config fields under TRL's names, as in the recipe. `compute`:
    the recipe's with the stage's own. `eval_data`: the source for evaluations during training; None without.
    `seed` None: the recipe's. `variant`: set for one of a matrix. `pick`: set for a stage that takes over one
    of its variants and trains nothing; the rest is then the first variant's. `merge`: set for a sum of other
    policies, which trains nothing; `parent` is then the first of these, `adapter` the sum's, and `data` is
    "".
    """

    name: str
    method: Method
    parent: str
    handover: Handover | None
    data: str
    adapter: AdapterSpec
    rewards: tuple[str, ...] = ()
    judge: str | None = None
    teacher: SecondModel | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[CheckSpec, ...] = ()
    compute: ComputeSpec = ComputeSpec()
    eval_data: str | None = None
    seed: int | None = None
    variant: VariantSpec | None = None
    pick: PickSpec | None = None
    merge: MergeSpec | None = None
    at: str = "/stages"

    @property
    def trains(self) -> bool:
        """Whether it learns from rows: it is neither a pick nor a merge."""
        return self.pick is None and self.merge is None

    @property
    def comes_from(self) -> tuple[tuple[str, str], ...]:
        """The policies that it is made from, each with its pointer in the recipe."""
        if self.merge is None:
            return ((self.parent, f"{self.at}/from"),)
        return tuple((part.name, part.at) for part in self.merge.parts)

    @property
    def has_reference(self) -> bool:
        """Whether the stage compares its policy with a frozen reference."""
        reference = self.method.reference
        if reference is None:
            return False
        switch = reference.unless_zero
        return switch is None or bool(self.config.get(switch, trl_defaults(self.method.name).get(switch)))

    @property
    def holds_reference(self) -> bool:
        """Whether the reference stays in memory during training.

        Not if its log-probabilities are computed with the policy itself before the first step.
        """
        return self.has_reference and not self.config.get("precompute_ref_log_probs")


@dataclass(frozen=True)
class LmEvalSpec:
    """Tasks of lm-evaluation-harness, under its own names; `include_path`: a folder with more of them."""

    tasks: tuple[str, ...]
    limit: int | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool = False
    include_path: str | None = None
    at: str = "/eval/lm_eval"


@dataclass(frozen=True)
class EvaluationSpec:
    """What is measured after every stage.

    `metrics` None: all that the data's columns allow. `sampled`: number of prompts with a second response at
    temperature 1; `refusals`: regular expressions for the beginning of a refusal (none: the built-in ones);
    `cluster`: a column whose equal values mark dependent rows; `accuracy`: the built-in reward for
    correctness (None: chosen by the right answers); `batch_tokens`: per batch (None: by memory).
    """

    data: str
    metrics: tuple[str, ...] | None = None
    max_new_tokens: int = 128
    samples: int = 8
    judge: str | None = None
    sampled: int = 64
    refusals: tuple[str, ...] = ()
    cluster: str | None = None
    lm_eval: LmEvalSpec | None = None
    accuracy: RewardSpec | None = None
    batch_tokens: int | None = None
    at: str = "/eval"


class Performance(Enum):
    """Whether settings that change only rounding are chosen for the device (`ptspec.performance`)."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True)
class TrackingSpec:
    """The trackers to report to, and the project."""

    report_to: tuple[str, ...] = ()
    project: str | None = None
    at: str = "/tracking"


@dataclass(frozen=True)
class Plan:
    """A resolved recipe.

    `output` is the run's folder, `document` its JSON value, `manifest` its origin if any.
    """

    name: str
    description: str
    seed: int
    model: ModelSpec
    data: Mapping[str, AnySource]
    rewards: Mapping[str, RewardSpec]
    judges: Mapping[str, JudgeSpec]
    stages: tuple[Stage, ...]
    evaluation: EvaluationSpec | None
    checks: tuple[CheckSpec, ...]
    compute: ComputeSpec
    tracking: TrackingSpec
    output: Path
    recipe: Path
    document: Mapping[str, Any]
    manifest: Path | None = None
    performance: Performance = Performance.AUTO

    @property
    def places(self) -> Places:
        """Where relative paths of the recipe are resolved."""
        return Places(Path.cwd(), self.recipe.absolute().parent)

    def stage(self, name: str) -> Stage | None:
        """Return the stage called `name`; None for the base or an unknown name."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def trained(self) -> tuple[Stage, ...]:
        """The stages that learn from rows."""
        return tuple(stage for stage in self.stages if stage.trains)

    def seed_of(self, stage: Stage) -> int:
        """Return the seed of initialisation, row order and sampling of `stage`."""
        return self.seed if stage.seed is None else stage.seed

    def upto(self, name: str) -> tuple[Stage, ...]:
        """Return the stages up to `name`; of a matrix up to its last variant."""
        wanted = [i for i, s in enumerate(self.stages) if name in (s.name, s.variant and s.variant.of)]
        return self.stages[: max(wanted, default=-1) + 1]

    @property
    def stage_names(self) -> list[str]:
        """Return all valid stage names, including stages with a matrix."""
        names = (name for s in self.stages for name in (s.name, s.variant.of if s.variant else s.name))
        return list(dict.fromkeys(names))
