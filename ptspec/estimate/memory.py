"""Device memory by part: formulas with their sources. `docs/hardware.md` works through an example.

Weights, gradients, optimizer: bytes per element times elements (Rajbhandari et al. 2020, ZeRO, arXiv
1910.02054 §3.1; `ptspec.estimate.held`). Activations: what autograd keeps of a decoder layer with fused
attention, counted tensor by tensor as in Korthikanti et al. 2022 (arXiv 2205.05198 §4); a test compares them
with what torch saves. Head: TRL 1.16, `trl/kernels/chunked_logprob.py`.

The result is a peak without fragmentation and library workspaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ptspec.estimate.adapters import StageAdapter
from ptspec.estimate.held import Holder, Part
from ptspec.estimate.sharding import Engine, sharding_of
from ptspec.estimate.weights import stored_width
from ptspec.methods.types import Head
from ptspec.recipe import targets
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import ModelSpec, Performance
from ptspec.recipe.shape import HEADS, ModelShape
from ptspec.recipe.stage_evaluation import evaluation_of

TILE = (4096, 32768)
"""Positions and vocabulary entries of a logits tile in TRL (TOKEN_CHUNK_SIZE, chunk_size)."""
FOLDS = 7.25
"""Float32 tensors of a tile's size that TRL holds at once on a CPU, without Triton. In `_backward_tile`:
logits, scaled logits, log-probabilities, probabilities, gradient, the target's mask as bool and as float32,
and the mask minus the probabilities."""
LIBRARIES = 550_000_000
"""Bytes that Python, torch, transformers, TRL, PEFT and datasets take before the model is loaded."""
CONTEXT = 500_000_000
"""Bytes that a CUDA context and the libraries' handles take before the first tensor."""
CUDA_CONTEXT, LIBRARIES_OF_A_CPU = "CUDA context", "libraries"


@dataclass(frozen=True)
class Work:
    """The longest sequence of a stage, in tokens; of an online method, `sampled` of them at once."""

    longest: int
    sampled: int = 0


@dataclass(frozen=True)
class Memory:
    """Bytes by part.

    `held` throughout training; of `training`, `sampling` and `measuring` (held-out rows) the largest counts.
    `opened`: before weights are sharded, besides the process.
    """

    held: tuple[Part, ...]
    training: tuple[Part, ...]
    sampling: tuple[Part, ...] = ()
    opened: tuple[Part, ...] = ()
    measuring: tuple[Part, ...] = ()

    @property
    def total(self) -> int:
        """Peak bytes."""
        return max(self.while_training, self.process + _sum(self.opened))

    @property
    def while_training(self) -> int:
        """Peak bytes during training."""
        return _sum(self.held) + max(map(_sum, (self.training, self.sampling, self.measuring)))

    @property
    def process(self) -> int:
        """Bytes before the model is loaded, independent of the stage's settings."""
        return _sum(tuple(part for part in self.held if part.name in (CUDA_CONTEXT, LIBRARIES_OF_A_CPU)))

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts of training, for a table."""
        return (*self.held, *self.training, *self.sampling, *self.measuring)


def memory(
    settings: EffectiveConfig,
    model: ModelSpec,
    shape: ModelShape,
    adapter: StageAdapter,
    work: Work,
    performance: Performance = Performance.AUTO,
) -> Memory:
    """Return the parts that a stage needs on its device, per process; empty parts are left out."""
    holder = Holder(settings, model, shape, adapter)
    process = Part(CUDA_CONTEXT, CONTEXT) if settings.gpu else Part(LIBRARIES_OF_A_CPU, LIBRARIES)
    held = _existing([*holder.held(), process])
    gathered = tuple(holder.gathered())
    layer = layer_bytes(settings, model, shape, adapter, work.longest, performance)
    training = _existing([*_training(settings, model, shape, adapter, work, layer), *gathered])
    sampling = _existing([*_sampling(settings, shape, work), *gathered[:1]]) if work.sampled else ()
    measured = _existing([*_measuring(settings, shape, work, layer), *gathered[:1]])
    return Memory(held, training, sampling, _existing(holder.opened()), measured)


def _training(
    settings: EffectiveConfig,
    model: ModelSpec,
    shape: ModelShape,
    adapter: StageAdapter,
    work: Work,
    layer: int,
) -> Iterator[Part]:
    """Yield the parts of a training pass; `layer`: bytes per token of one layer."""
    tokens = sequences(settings) * work.longest
    between = shape.hidden * _residual_width(settings, model, shape)
    if settings.value("gradient_checkpointing"):
        yield Part("activations", tokens * (shape.layers * between + layer))
    else:
        yield Part("activations", tokens * shape.layers * layer)
    yield Part("experts with their adapter", _adapted(settings, model, shape, adapter))
    yield Part("logits", head_bytes(settings, shape, tokens))


def _measuring(settings: EffectiveConfig, shape: ModelShape, work: Work, layer: int) -> Iterator[Part]:
    """Yield the parts of a pass over held-out rows of training length: no gradients, one layer at a time."""
    if (evaluation := evaluation_of(settings.stage)) is None:
        return
    tokens = evaluation.rows * settings.stage.method.loss.sequences * work.longest
    yield Part("activations of a layer", tokens * layer)
    yield Part("logits", head_bytes(settings, shape, tokens))
    if work.sampled:
        yield from _sampling(settings, shape, Work(work.longest, evaluation.rows))


def _adapted(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape, adapter: StageAdapter) -> int:
    """Return the bytes of LoRA over expert tensors.

    PEFT adds the update to the tensor: a forward pass makes W + BA and keeps it, a backward pass its
    gradient.
    """
    if adapter.attached is None or not adapter.attached.wraps_parameters:
        return 0
    wrapped = targets.resolve(settings.stage.adapter.lora, shape).parameters
    whole = sum(shape.tensors[name].elements for name in wrapped) * stored_width(settings, model, shape)
    layer = whole // max(shape.layers, 1)
    return 2 * layer if settings.value("gradient_checkpointing") else whole + layer


def sequences(settings: EffectiveConfig) -> int:
    """Return the sequences in one forward pass of one process."""
    rows = settings.number("per_device_train_batch_size", 8)
    return rows * settings.stage.method.loss.sequences


def layer_bytes(
    settings: EffectiveConfig,
    model: ModelSpec,
    shape: ModelShape,
    adapter: StageAdapter,
    length: int,
    performance: Performance = Performance.AUTO,
) -> int:
    """Return the bytes per token that autograd keeps of one decoder layer with fused attention.

    The MLP keeps gate, its activation, up and their product (without a gate: two of them); the two norms
    their inputs and outputs; attention its output, q, k, v and a log-sum per head; LoRA r values per module,
    and a copy of its input if PEFT casts it to float32 (`performance.free.adapter_inputs`).
    """
    hidden, inner = shape.hidden, shape.active_intermediate
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    width = _compute_width(settings, model, shape)
    mlp = (4 if _is_gated(shape) else 2) * inner
    ranks = _ranks(shape, adapter)
    whole = adapter.attached is None
    if width == 4:
        kept = 4 * (mlp + (6 if whole else 4) * hidden + 2 * queries + 2 * keys + ranks)
    elif whole:
        kept = 2 * (mlp + 5 * hidden + 2 * queries + 2 * keys) + 4 * 4 * hidden
    else:
        shares = settings.autocasts_adapter and (
            settings.stage.adapter.use_qlora or performance is Performance.AUTO
        )
        inputs = (2 if shares else 5) * hidden
        kept = 2 * (mlp + inputs + (2 if shares else 3) * queries + 2 * keys + ranks) + 2 * 4 * hidden
    dropped = _dropout(settings, shape, adapter) * (width + 1)
    scores = shape.heads * length * (2 * width + 4) if model.attn_implementation == "eager" else 0
    return kept + dropped + scores + 4 * shape.heads + 8


def _ranks(shape: ModelShape, adapter: StageAdapter) -> int:
    """Return Σ r over the modules of a layer."""
    if adapter.attached is None:
        return 0
    return sum(adapter.attached.ranks.values()) // max(shape.layers, 1)


def _dropout(settings: EffectiveConfig, shape: ModelShape, adapter: StageAdapter) -> int:
    """Return the elements of a layer's inputs that LoRA's dropout keeps a second time."""
    if adapter.attached is None or not settings.stage.adapter.lora.get("lora_dropout"):
        return 0
    return sum(into for _, into in adapter.attached.sizes.values()) // max(shape.layers, 1)


def _is_gated(shape: ModelShape) -> bool:
    return any("gate" in name for name in shape.tensors)


def _compute_width(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> int:
    return 2 if settings.mixed else stored_width(settings, model, shape)


def _residual_width(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> int:
    """Return the bytes per element of the residual stream.

    That of the embeddings, which autocast leaves unchanged; 16 bits in sharding engines.
    """
    is_recast = settings.mixed and sharding_of(settings.compute).engine is not Engine.DDP
    return 2 if is_recast else stored_width(settings, model, shape)


def head_bytes(settings: EffectiveConfig, shape: ModelShape, tokens: int) -> int:
    """Return the bytes of logits.

    TRL's tiles with the gradient of the hidden states in 32 bits; whole logits, their log-softmax and
    gradient otherwise; none for a reward model.
    """
    width: float = 2 if settings.mixed else 4
    method = settings.stage.method
    if method.loss.head is Head.SCORE:
        return 0
    if method.loss.head is Head.LOGITS:
        return round(tokens * shape.vocabulary * (2 * width + 4))
    positions, entries = TILE
    if not settings.gpu:
        # On a GPU a tile has its full buffer; on a CPU only written pages are allocated.
        entries, width = min(entries, shape.vocabulary), width + 4 * FOLDS
    weight = 0 if settings.stage.adapter.use_lora else 4 * _head_elements(shape)
    return round(min(tokens, positions) * entries * width) + tokens * shape.hidden * 4 + weight


def _head_elements(shape: ModelShape) -> int:
    own = [t.elements for name, t in shape.matrices.items() if name.rpartition(".")[2] in HEADS]
    return own[0] if own else shape.vocabulary * shape.hidden


def _sampling(settings: EffectiveConfig, shape: ModelShape, work: Work) -> Iterator[Part]:
    """Yield keys and values of every layer and token, and the logits of one position.

    Pope et al. 2022, arXiv 2211.05102 §3.3. The logits are in 32 bits, with a sorted or scaled copy.
    """
    width = 2 if settings.mixed else 4
    sampled = settings.stage.method.sampling
    caches = sampled.caches if sampled is not None else 0
    token = 2 * shape.layers * shape.kv_heads * shape.head_dim * width
    yield Part("KV cache", caches * work.sampled * work.longest * token)
    yield Part("logits of a position", 2 * caches * work.sampled * shape.vocabulary * 4)


def _existing(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.bytes)


def _sum(parts: tuple[Part, ...]) -> int:
    return sum(part.bytes for part in parts)
