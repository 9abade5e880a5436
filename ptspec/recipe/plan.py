"""The typed plan: what a recipe means, once it is known to be right.

Types only. `ptspec.recipe.resolve` makes a `Plan` from a document; everything downstream reads it and
nothing else of the recipe. `at` is the JSON pointer of the node in the recipe, so that a failure late
in a run can still be shown at its line.
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
    """What becomes of the incoming adapter; the reference is always the policy that came in."""

    CONTINUE = "continue"
    MERGE = "merge"
    STACK = "stack"


class OnFail(Enum):
    STOP = "stop"
    WARN = "warn"


@dataclass(frozen=True)
class HubModel:
    """What is known of a model on the hub before it is loaded: the folder with its config and its tokenizer's
    files, and its shape, where the headers of its weights were read."""

    folder: Path
    shape: ModelShape | None = None


@dataclass(frozen=True)
class ModelSpec:
    """`path` is a folder that exists (absolute) or, when there is none, a hub id.

    `chat_template` is the template's text; `template_file` the file that it was read from, if it was.
    `additional_special_tokens` are put into the tokenizer, and the embeddings grow by them. `eos_token` and
    `pad_token` are tokens of the tokenizer to take in place of its own. `hub` is set where a model on the hub
    was looked at.
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
        """Where its config and its tokenizer's files are; None of one on the hub that was not looked at."""
        if self.local:
            return Path(self.path)
        return self.hub.folder if self.hub is not None else None


@dataclass(frozen=True)
class AdapterSpec:
    """The adapter of a stage. Neither switch: full fine-tuning.

    `lora` holds peft.LoraConfig fields, `quantization` transformers.BitsAndBytesConfig fields.
    """

    use_lora: bool
    use_qlora: bool = False
    lora: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    at: str = "/adapter"


@dataclass(frozen=True)
class CheckSpec:
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
    """One combination of a matrix: the stage that has the matrix (`of`), its number from 1, and the value of
    each axis, by the axis as the recipe writes it."""

    of: str
    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class PickSpec:
    """What chooses among `variants`: the best `metric` of those that hold to the checks `keep`."""

    metric: str
    variants: tuple[str, ...]
    keep: tuple[CheckSpec, ...] = ()
    at: str = "/stages"


ZERO_STAGE = 2
"""DeepSpeed's stage of ZeRO where a recipe does not say."""


@dataclass(frozen=True)
class ComputeSpec:
    """Where and how a stage runs.

    `processes` is a node's; `strategy`: how several share a model (None: DDP). `keep_effective_batch`: an
    optimizer step takes the rows of one process's, whatever their number. `fsdp`, `deepspeed`, `ray`: options
    under accelerate's, DeepSpeed's and Ray's names."""

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
        """Processes on all nodes together."""
        return self.processes * self.nodes

    @property
    def engine(self) -> str | None:
        """What shards among the processes what a stage trains: "fsdp" or "deepspeed"; None where each holds
        all of it."""
        return self.strategy if self.world > 1 and self.strategy in ("fsdp", "deepspeed") else None

    @property
    def zero_stage(self) -> int | None:
        """DeepSpeed's stage of ZeRO; None without DeepSpeed."""
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

    `parent` is an earlier stage's name, "base", or a path to an adapter or model. `handover` is None
    where no adapter comes in. `config` holds the method's TRL config fields under TRL's names, as
    given in the recipe. `compute` is the recipe's with what the stage has of its own. `eval_data`: the source
    that the trainer measures itself on while it trains; None where it does not. `seed` None: the
    recipe's. `variant`: where it is one of a matrix. `pick`: where it trains nothing and takes over one of
    its variants; the rest is then as of the first of them. `merge`: where it trains nothing and is the sum of
    other policies; `parent` is then the first of these, `adapter` says what the sum is, and `data` is "".
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
        """Whether it learns from rows: what is neither a pick nor a merge."""
        return self.pick is None and self.merge is None

    @property
    def comes_from(self) -> tuple[tuple[str, str], ...]:
        """The policies that it is made from, each with the pointer to where the recipe names it."""
        if self.merge is None:
            return ((self.parent, f"{self.at}/from"),)
        return tuple((part.name, part.at) for part in self.merge.parts)

    @property
    def has_reference(self) -> bool:
        """Whether this stage holds its policy against a frozen reference."""
        reference = self.method.reference
        if reference is None:
            return False
        switch = reference.unless_zero
        return switch is None or bool(self.config.get(switch, trl_defaults(self.method.name).get(switch)))

    @property
    def holds_reference(self) -> bool:
        """Whether the reference stays in memory while the stage trains: not where its log-probabilities are
        taken from the policy itself before the first step."""
        return self.has_reference and not self.config.get("precompute_ref_log_probs")


@dataclass(frozen=True)
class LmEvalSpec:
    """Tasks of lm-evaluation-harness, under its own names; `include_path` is a folder with more of them."""

    tasks: tuple[str, ...]
    limit: int | None = None
    num_fewshot: int | None = None
    apply_chat_template: bool = False
    include_path: str | None = None
    at: str = "/eval/lm_eval"


@dataclass(frozen=True)
class EvaluationSpec:
    """What is measured after every stage.

    `metrics` None: all that the data's columns allow. `sampled`: on how many prompts a second response is
    drawn at temperature 1; `refusals`: regular expressions that tell a refusal by its opening (none: the
    built-in ones); `cluster`: a column whose equal values make rows belong together; `accuracy`: the built-in
    reward that says what is right (None: by the look of the right answers); `batch_tokens`: of a batch (None:
    what memory allows)."""

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
    """Whether settings that change nothing but rounding are chosen for the device (`ptspec.performance`)."""

    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True)
class TrackingSpec:
    report_to: tuple[str, ...] = ()
    project: str | None = None
    at: str = "/tracking"


@dataclass(frozen=True)
class Plan:
    """A whole recipe, resolved.

    `output` is the run's own folder. `document` is the recipe as a JSON value after `--set`, for the
    manifest; `manifest` is the one that it was taken from, if it was."""

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
        """Where relative paths of the recipe count from."""
        return Places(Path.cwd(), self.recipe.absolute().parent)

    def stage(self, name: str) -> Stage | None:
        """The stage called `name`; None where that is the base, or none of this recipe."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def trained(self) -> tuple[Stage, ...]:
        """The stages that learn from rows."""
        return tuple(stage for stage in self.stages if stage.trains)

    def seed_of(self, stage: Stage) -> int:
        """What `stage` initialises, orders its rows and draws by."""
        return self.seed if stage.seed is None else stage.seed

    def upto(self, name: str) -> tuple[Stage, ...]:
        """The stages up to the one called `name`; of a matrix, up to its last variant."""
        wanted = [i for i, s in enumerate(self.stages) if name in (s.name, s.variant and s.variant.of)]
        return self.stages[: max(wanted, default=-1) + 1]

    @property
    def stage_names(self) -> list[str]:
        """The names that a stage goes by, those of matrices among them."""
        names = (name for s in self.stages for name in (s.name, s.variant.of if s.variant else s.name))
        return list(dict.fromkeys(names))
