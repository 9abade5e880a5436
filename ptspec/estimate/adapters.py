"""The LoRA tensors of a stage: attached, trained and saved.

A merged or stacked adapter is saved as one adapter of the sum of both ranks over the bare base
(`ptspec.model.low_rank`), so a stage's tensors follow from its parent's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ptspec.architecture.modules import Kind
from ptspec.methods.types import Yields
from ptspec.recipe import targets
from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.headers import NoShape, Tensor, read_header
from ptspec.recipe.json_object import read_object
from ptspec.recipe.plan import AdapterSpec, Handover, Stage
from ptspec.recipe.shape import HEADS, ModelShape
from ptspec.store.stage_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS

PREFIX = "base_model.model."
REWARD_HEAD = "score"

Shapes = Mapping[str, tuple[int, ...]]
Ranks = Mapping[str, int]


@dataclass(frozen=True)
class Adapter:
    """The tensors of an adapter.

    `ranks`: module -> r; `sizes`: module -> (out, in) of its weight; `other`: tensors besides A and B
    (magnitudes, biases, whole modules) by saved name. `wraps_parameters`: PEFT wraps parameters instead of
    modules; their r counts once per expert. `adapts_embeddings`: some adapt embeddings instead of linear
    layers.
    """

    ranks: Ranks
    sizes: Mapping[str, tuple[int, int]]
    other: Shapes = field(default_factory=dict)
    wraps_parameters: bool = False
    adapts_embeddings: bool = False

    @property
    def shapes(self) -> Shapes:
        """Shape of every tensor by its name in `adapter_model.safetensors`."""
        found: dict[str, tuple[int, ...]] = {}
        for module, rank in self.ranks.items():
            out, into = self.sizes[module]
            found[f"{PREFIX}{module}.lora_A.weight"] = (rank, into)
            found[f"{PREFIX}{module}.lora_B.weight"] = (out, rank)
        return {**found, **self.other}

    @property
    def parameters(self) -> int:
        """Number of parameters: Σ r·(in + out) over the modules (Hu et al.

        2021, arXiv 2106.09685 §4.1), plus others.
        """
        return sum(Tensor("F32", shape).elements for shape in self.shapes.values())

    def tensors(self, dtype: str) -> Mapping[str, Tensor]:
        """Return every tensor with dtype `dtype`, as safetensors names it."""
        return {name: Tensor(dtype, shape) for name, shape in self.shapes.items()}

    @property
    def doubled(self) -> Adapter:
        """Return the adapter with twice the rank.

        PiSSA and OLoRA train half of it (`ptspec.model.split_adapter`).
        """
        return replace(self, ranks={module: 2 * rank for module, rank in self.ranks.items()})

    @property
    def is_plain(self) -> bool:
        """Whether it consists of low-rank updates of linear layers only: such adapters can be summed."""
        return not self.other and not self.wraps_parameters and not self.adapts_embeddings


@dataclass(frozen=True)
class StageAdapter:
    """A stage's adapter.

    `attached`: the tensors in memory; `trained`: number of trained parameters; `saved`: what the stage's
    folder holds, None for whole weights.
    """

    attached: Adapter | None
    trained: int
    saved: Adapter | None


def new_adapter(spec: AdapterSpec, shape: ModelShape) -> Adapter:
    """Return the adapter that the LoRA fields of `spec` make over `shape`.

    Raises `targets.UnknownTargets`.
    """
    found = targets.resolve(spec.lora, shape)
    sizes = {module: _size(module, shape) for module in found.modules}
    other = {**_extras(spec, shape, sizes), **_whole(spec, shape)}
    wrapped = list(_wrapped(found.parameters, shape))
    ranks = {**found.modules, **{name: rank for name, rank, _ in wrapped}}
    sizes |= {name: size for name, _, size in wrapped}
    embeddings = any(targets.is_embedding(module, shape) for module in found.modules)
    return Adapter(ranks, sizes, other, bool(wrapped), embeddings)


def _wrapped(parameters: Ranks, shape: ModelShape) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Return name, r and (out, in) of each parameter that PEFT wraps.

    The last one of a module has its name, those before it are its `base_layer`. For a tensor of experts r
    counts once per expert.
    """
    owners: dict[str, list[str]] = {}
    for name in parameters:
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    for owner, names in owners.items():
        ordered = shape.modules.in_order(owner, names) if shape.modules else names
        for before, name in enumerate(reversed(ordered)):
            size = shape.tensors[name].shape
            if len(size) not in (2, 3):
                raise targets.UnknownTargets(f"{name} has {len(size)} dimensions, and PEFT wraps 2 or 3")
            experts = size[0] if len(size) == 3 else 1
            yield owner + ".base_layer" * before, parameters[name] * experts, (size[-2], size[-1])


def read_adapter(folder: Path) -> Adapter:
    """Return the adapter in `folder`. Raises `NoShape`."""
    ranks: dict[str, int] = {}
    sizes: dict[str, tuple[int, int]] = {}
    other: dict[str, tuple[int, ...]] = {}
    header = read_header(folder / ADAPTER_WEIGHTS)
    for name, tensor in header.items():
        module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        if name.endswith(".lora_A.weight"):
            b = header.get(f"{PREFIX}{module}.lora_B.weight")
            if b is None or len(tensor.shape) != 2 or len(b.shape) != 2:
                raise NoShape(f"{ADAPTER_WEIGHTS}: {name} has no lora_B")
            ranks[module], sizes[module] = tensor.shape[0], (b.shape[0], tensor.shape[1])
        elif not name.endswith(".lora_B.weight"):
            other[name] = tensor.shape
    return Adapter(ranks, sizes, other, bool(read_object(folder / ADAPTER_CONFIG).get("target_parameters")))


def stage_adapter(stage: Stage, shape: ModelShape, incoming: Adapter | None) -> StageAdapter:
    """Return the adapter of `stage` over a base of `shape`, given its parent's.

    Raises `targets.UnknownTargets`.
    """
    if not stage.adapter.use_lora:
        head = shape.hidden if stage.method.yields is Yields.REWARD_MODEL else 0
        return StageAdapter(None, _backbone(stage, shape) + head, None)
    splits = takes_from_base(stage.adapter.lora)
    if incoming is not None and stage.handover is Handover.CONTINUE:
        trained = new_adapter(stage.adapter, shape) if splits else incoming
        return StageAdapter(incoming, trained.parameters, incoming)
    own = new_adapter(stage.adapter, shape)
    if stage.method.yields is Yields.REWARD_MODEL:
        scores = {f"{PREFIX}{REWARD_HEAD}.weight": (1, shape.hidden)}
        own = replace(own, other={**own.other, **scores})
    put_on = own.doubled if splits else own
    if incoming is None or stage.handover is None:
        return StageAdapter(put_on, own.parameters, put_on)
    both = total(incoming, put_on)
    if stage.handover is Handover.STACK:
        return StageAdapter(both, own.parameters, both)
    return StageAdapter(put_on, own.parameters, both if incoming.is_plain and own.is_plain else None)


def copies_reference(stage: Stage) -> bool:
    """Return whether the reference of `stage` is a frozen copy of its adapter.

    TRL copies an adapter that it did not attach itself, and disables one that it did.
    """
    put_on_before = stage.handover in (Handover.CONTINUE, Handover.STACK)
    return stage.has_reference and (put_on_before or takes_from_base(stage.adapter.lora))


def _backbone(stage: Stage, shape: ModelShape) -> int:
    """Return the parameters of full fine-tuning; a reward model has no language-model head."""
    if stage.method.yields is not Yields.REWARD_MODEL:
        return shape.parameters
    return sum(t.elements for name, t in shape.tensors.items() if not name.startswith("lm_head."))


def total(first: Adapter, second: Adapter) -> Adapter:
    """Return the sum of both adapters: every module gets the sum of the two highest ranks."""
    rank = sum(max(adapter.ranks.values(), default=0) for adapter in (first, second))
    sizes = {**first.sizes, **second.sizes}
    return Adapter(dict.fromkeys(sizes, rank), sizes)


def _size(module: str, shape: ModelShape) -> tuple[int, int]:
    """Return (out, in) of a weight; GPT-2's Conv1D stores it transposed."""
    first, second = shape.matrices[module].shape
    is_conv = shape.modules is not None and shape.modules.kind(module) is Kind.CONV1D
    return (second, first) if is_conv else (first, second)


def _extras(spec: AdapterSpec, shape: ModelShape, sizes: Mapping[str, tuple[int, int]]) -> Shapes:
    """Return DoRA's magnitudes (Liu et al. 2024, arXiv 2402.09353), biases of B, and biases of the model."""
    found: dict[str, tuple[int, ...]] = {}
    for module, (out, _) in sizes.items():
        if spec.lora.get("use_dora"):
            found[f"{PREFIX}{module}.lora_magnitude_vector"] = (out,)
        if spec.lora.get("lora_bias"):
            found[f"{PREFIX}{module}.lora_B.bias"] = (out,)
    kind = spec.lora.get("bias", "none")
    for name, tensor in shape.tensors.items():
        module = name.removesuffix(".bias")
        if name.endswith(".bias") and (kind == "all" or (kind == "lora_only" and module in sizes)):
            found[PREFIX + name] = tensor.shape
    return found


def _whole(spec: AdapterSpec, shape: ModelShape) -> Shapes:
    modules = targets.saved_whole(spec.lora, shape)
    found = {
        PREFIX + name: tensor.shape
        for name, tensor in shape.tensors.items()
        if name.rpartition(".")[0] in modules
    }
    if HEADS[0] in modules and HEADS[0] not in shape.matrices:
        found[f"{PREFIX}{HEADS[0]}.weight"] = (shape.vocabulary, shape.hidden)
    return found
