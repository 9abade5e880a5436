"""The shape of a model: its config and the headers of its safetensors files. Reads no weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ptspec.architecture.modules import Kind, Modules
from ptspec.architecture.opened import Opened, open_checkpoint
from ptspec.recipe.headers import NoShape, Tensor, read_headers
from ptspec.recipe.quantised import Quantised, dequantised, read_quantised

TOKEN_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in")
"""Names of the token embeddings in transformers' decoders."""
_EMBEDDINGS = (*TOKEN_EMBEDDINGS, "wpe", "embed_positions", "embeddings")
_POSITIONS = ("wpe", "embed_positions")
HEADS = ("lm_head", "embed_out", "output")

_ADAPTABLE = (Kind.LINEAR, Kind.LINEAR_LIKE, Kind.CONV1D, Kind.EMBEDDING)


@dataclass(frozen=True)
class ModelShape:
    """The structure of a model; `tensors`: its parameters by the model's names, tied ones once.

    `modules`: its module tree; None if its source does not tell (custom code, an unknown type): names in the
    files are used then. `left_out`: tensors of the files that are not loaded (a vision tower beside a text
    model); `quantised`: how the files are quantised.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    modules: Modules | None = field(default=None, compare=False)  # follows from config
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    left_out: Mapping[str, Tensor] = field(default_factory=dict)
    quantised: Quantised | None = None

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(tensor.elements for tensor in self.tensors.values())

    def grown(self, tokens: int) -> ModelShape:
        """Return this shape with embeddings for `tokens` tokens, if it has fewer."""
        if tokens <= self.vocabulary:
            return self
        ends = (*_EMBEDDINGS, *HEADS)
        grown = {
            name: Tensor(tensor.dtype, (tokens, *tensor.shape[1:]))
            if _is_matrix(name, tensor) and _last(name.removesuffix(".weight")) in ends
            else tensor
            for name, tensor in self.tensors.items()
        }
        return replace(self, config={**self.config, "vocab_size": tokens}, tensors=grown)

    @cached_property
    def matrices(self) -> Mapping[str, Tensor]:
        """Modules with a two-dimensional weight that LoRA can adapt: linear layers, embeddings, head."""
        found = {name.removesuffix(".weight"): t for name, t in self.tensors.items() if _is_matrix(name, t)}
        return {name: tensor for name, tensor in found.items() if self._is(name, *_ADAPTABLE)}

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """The linear layers without the output head: PEFT's "all-linear"."""
        return tuple(name for name in self.matrices if self._is_linear(name))

    def quantised_layers(self, skip: Sequence[str] | None) -> tuple[str, ...]:
        """Return the linear layers that bitsandbytes quantises.

        No subclasses of `nn.Linear`, no fused experts.

        `skip` (`llm_int8_skip_modules`) replaces the head, which transformers skips by default.
        """
        names = self.linear if skip is None else (*self.linear, *filter(self.is_head, self.matrices))
        taken = (name for name in names if self._is(name, Kind.LINEAR, Kind.CONV1D))
        return tuple(name for name in taken if not is_skipped(name, skip or ()))

    @cached_property
    def all_modules(self) -> tuple[str, ...]:
        """Every module that holds a tensor, or a module that does; and the head, tied or not."""
        parts = [name.split(".") for name in (*self.tensors, *self.buffers)]
        every = (".".join(names[:upto]) for names in parts for upto in range(1, len(names)))
        return tuple(dict.fromkeys([*every, HEADS[0]]))

    def is_head(self, module: str) -> bool:
        """Return whether a module is the output head.

        If classes are known, a linear layer of the outermost.
        """
        if self.modules is None:
            return module in HEADS
        return "." not in module and self.modules.kind(module) in (Kind.LINEAR, Kind.LINEAR_LIKE)

    def _is(self, module: str, *kinds: Kind) -> bool:
        return self.modules is None or self.modules.kind(module) in kinds

    def _is_linear(self, module: str) -> bool:
        if self.modules is None:
            return _last(module) not in (*_EMBEDDINGS, *HEADS)
        return self.modules.kind(module) is not Kind.EMBEDDING and not self.is_head(module)

    @property
    def model_type(self) -> str:
        """`model_type` of the config."""
        return str(self.config.get("model_type", ""))

    def number(self, *names: str, default: int = 0) -> int:
        """Return the integer under the first existing of these config keys; `default` if none exists."""
        given = (self.config.get(name) for name in names)
        return next((v for v in given if isinstance(v, int) and not isinstance(v, bool)), default)

    @property
    def hidden(self) -> int:
        """Width of the hidden states (`hidden_size`, `n_embd`, `d_model`); 0 if absent."""
        return self.number("hidden_size", "n_embd", "d_model")

    @property
    def layers(self) -> int:
        """Number of layers (`num_hidden_layers`, `n_layer`, `num_layers`); 0 if absent."""
        return self.number("num_hidden_layers", "n_layer", "num_layers")

    @property
    def heads(self) -> int:
        """Number of attention heads (`num_attention_heads`, `n_head`); 0 if absent."""
        return self.number("num_attention_heads", "n_head")

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads (`num_key_value_heads`); `heads` if absent."""
        return self.number("num_key_value_heads", default=self.heads)

    @property
    def head_dim(self) -> int:
        """Width of an attention head (`head_dim`); `hidden` / `heads` if absent."""
        return self.number("head_dim", default=self.hidden // max(self.heads, 1))

    @property
    def intermediate(self) -> int:
        """Width of an MLP (`intermediate_size`, `n_inner`); 4 × `hidden` if absent."""
        return self.number("intermediate_size", "n_inner", default=4 * self.hidden)

    @property
    def active_intermediate(self) -> int:
        """Width of the MLPs that one token passes through: of a mixture of experts, the chosen ones."""
        chosen = self.number("num_experts_per_tok", "num_experts_per_token", "top_k_experts")
        if not chosen or all(len(tensor.shape) < 3 for tensor in self.tensors.values()):
            return self.intermediate
        each = self.number("moe_intermediate_size", default=self.intermediate)
        shared = self.number("n_shared_experts") * each or self.number("shared_expert_intermediate_size")
        return chosen * each + shared

    @property
    def vocabulary(self) -> int:
        """Size of the vocabulary (`vocab_size`); 0 if absent."""
        return self.number("vocab_size")

    @property
    def embedded(self) -> int:
        """Number of rows of the input embedding: of its tensor, else as in the config."""
        inputs = [name for name in _EMBEDDINGS if name not in _POSITIONS]
        found = (t for name, t in self.matrices.items() if _last(name) in inputs)
        tensor = next(found, None)
        return tensor.shape[0] if tensor is not None else self.vocabulary

    @property
    def context(self) -> int | None:
        """Maximum sequence length in tokens; None if the config has none."""
        return self.number("max_position_embeddings", "n_positions") or None


def is_skipped(module: str, skip: Iterable[str]) -> bool:
    """Return whether `llm_int8_skip_modules` matches a module.

    By prefix, pattern or suffix, as in transformers (`quantizers_utils.should_convert_module`).
    """
    patterns = [(one, rf"(?:{one})(?:(?<=\.)|(?=\.|$))") for one in skip]
    return any(re.match(pattern, module) or module.endswith(one) for one, pattern in patterns)


def read_shape(folder: Path) -> ModelShape:
    """Return the shape of the model in `folder`. Raises `NoShape` if a file is missing or damaged."""
    return make_shape(read_config(folder), read_headers(folder))


def make_shape(config: Mapping[str, Any], stored: Mapping[str, Tensor]) -> ModelShape:
    """Return the shape of a model from its config.json and stored tensors."""
    quantised = read_quantised(config)
    tensors = dequantised(stored, quantised) if quantised else stored
    opened = open_checkpoint(config, {name: tensor.shape for name, tensor in tensors.items()})
    if opened is None:
        return ModelShape(_flat(config, config), tensors, quantised=quantised)
    left_out = {name: tensors[name] for name in opened.left_out}
    return ModelShape(
        _flat(config, opened.modules.config),
        _named(opened, tensors, buffers=False),
        opened.modules,
        _named(opened, tensors, buffers=True),
        left_out,
        quantised,
    )


def _named(opened: Opened, tensors: Mapping[str, Tensor], *, buffers: bool) -> dict[str, Tensor]:
    made = opened.buffers if buffers else opened.parameters
    return {name: Tensor(tensors[one.sources[0]].dtype, one.shape) for name, one in made.items()}


def read_config(folder: Path) -> Mapping[str, Any]:
    """Return a model's config.json. Raises `NoShape` if it is missing or damaged."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except OSError as error:
        raise NoShape("it has no config.json") from error
    except (ValueError, RecursionError) as error:
        raise NoShape(f"its config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise NoShape("its config.json holds no object")
    return config


def _flat(config: Mapping[str, Any], opened: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config with its text model's fields at the top; its type is that of the opened model."""
    text = config.get("text_config")
    kind = opened.get("model_type")
    return {**config, **text, "model_type": kind} if isinstance(text, dict) else config


def parts_of(names: Iterable[str]) -> list[str]:
    """Return the components of tensors: "model.visual", "model.layers.61", "mtp"."""
    return list(dict.fromkeys(map(_part, names)))


def _part(name: str) -> str:
    steps = name.split(".")
    if len(steps) > 3 and steps[2].isdigit():
        return ".".join(steps[:3])
    return ".".join(steps[: 2 if steps[0] == "model" else 1])


def _is_matrix(name: str, tensor: Tensor) -> bool:
    return name.endswith(".weight") and len(tensor.shape) == 2


def _last(module: str) -> str:
    return module.rpartition(".")[2]
