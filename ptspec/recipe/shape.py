"""The shape of a model: its config and the headers of its safetensors files. Reads no weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}
"""Bytes of one element, by the name of its type in a safetensors header."""

_MOST_HEADER = 100_000_000
"""The format's own limit on a header, in bytes."""

_POINTER = int.from_bytes(b"version ", "little")
"""What the first 8 bytes of a Git LFS pointer would mean."""

_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "embed_positions", "embeddings")
_POSITIONS = ("wpe", "embed_positions")
HEADS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True)
class Tensor:
    """`dtype` as safetensors names it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * BYTES.get(self.dtype, 4)


class NoShape(ValueError):
    """A folder whose shape cannot be told, and why."""


@dataclass(frozen=True)
class ModelShape:
    """What a model is made of. `tensors` go by their names in the files; tied ones stand there once."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors.values())

    def grown(self, tokens: int) -> ModelShape:
        """This shape with embeddings for `tokens` tokens, where it has fewer."""
        if tokens <= self.vocabulary:
            return self
        ends = (*_EMBEDDINGS, *HEADS)
        grown = {
            name: Tensor(tensor.dtype, (tokens, *tensor.shape[1:]))
            if _is_matrix(name, tensor) and _last(name.removesuffix(".weight")) in ends
            else tensor
            for name, tensor in self.tensors.items()
        }
        return ModelShape({**self.config, "vocab_size": tokens}, grown)

    @cached_property
    def matrices(self) -> Mapping[str, Tensor]:
        """Modules with a weight of two dimensions: linear layers, embeddings, the head."""
        names = ((name.removesuffix(".weight"), t) for name, t in self.tensors.items() if _is_matrix(name, t))
        return dict(names)

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """The linear layers, without the output head: PEFT's "all-linear"."""
        return tuple(name for name in self.matrices if _last(name) not in (*_EMBEDDINGS, *HEADS))

    def number(self, *names: str, default: int = 0) -> int:
        """A whole number of the config under the first of `names` that it has."""
        given = (self.config.get(name) for name in names)
        return next((v for v in given if isinstance(v, int) and not isinstance(v, bool)), default)

    @property
    def hidden(self) -> int:
        return self.number("hidden_size", "n_embd", "d_model")

    @property
    def layers(self) -> int:
        return self.number("num_hidden_layers", "n_layer", "num_layers")

    @property
    def heads(self) -> int:
        return self.number("num_attention_heads", "n_head")

    @property
    def kv_heads(self) -> int:
        return self.number("num_key_value_heads", default=self.heads)

    @property
    def head_dim(self) -> int:
        return self.number("head_dim", default=self.hidden // max(self.heads, 1))

    @property
    def intermediate(self) -> int:
        return self.number("intermediate_size", "n_inner", default=4 * self.hidden)

    @property
    def vocabulary(self) -> int:
        return self.number("vocab_size")

    @property
    def embedded(self) -> int:
        """The tokens that the input embedding has rows for: of its tensor, else as the config says."""
        inputs = [name for name in _EMBEDDINGS if name not in _POSITIONS]
        found = (t for name, t in self.matrices.items() if _last(name) in inputs)
        tensor = next(found, None)
        return tensor.shape[0] if tensor is not None else self.vocabulary

    @property
    def context(self) -> int | None:
        """The longest sequence that the model was made for, in tokens; None where it does not say."""
        return self.number("max_position_embeddings", "n_positions") or None


def read_shape(folder: Path) -> ModelShape:
    """The shape of the model in `folder`. Raises `NoShape` where a file of it is missing or damaged."""
    config = read_config(folder)
    files = weight_files(folder)
    if not files:
        raise NoShape("it has no *.safetensors")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(read_header(file))
    return ModelShape(config, tensors)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model: those its index lists, else all that are no adapter."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found = sorted(folder.glob("*.safetensors"))
        return [file for file in found if not file.name.startswith(("adapter_", "consolidated"))]


def read_header(file: Path) -> Mapping[str, Tensor]:
    """Names, types and shapes in a safetensors file. Raises `NoShape` where it is damaged.

    Format: 8 bytes of little-endian length, then that many bytes of JSON
    (https://github.com/huggingface/safetensors#format).
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length == _POINTER:
                raise NoShape(f"{file.name} is a pointer of Git LFS: git lfs pull brings the file")
            if not 2 <= length <= _MOST_HEADER:
                raise NoShape(f"{file.name} is no safetensors file")
            header = json.loads(stream.read(length))
        return dict(_tensors(header))
    except OSError as error:
        raise NoShape(f"{file.name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoShape(f"{file.name} is no safetensors file") from error


def _tensors(header: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, Tensor(str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))


def read_config(folder: Path) -> Mapping[str, Any]:
    """The config of the model in `folder`. Raises `NoShape` where it is missing or damaged."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except OSError as error:
        raise NoShape("it has no config.json") from error
    except ValueError as error:
        raise NoShape(f"its config.json is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise NoShape("its config.json holds no object")
    text = config.get("text_config")
    return {**config, **text} if isinstance(text, dict) else config


def _is_matrix(name: str, tensor: Tensor) -> bool:
    return name.endswith(".weight") and len(tensor.shape) == 2


def _last(module: str) -> str:
    return module.rpartition(".")[2]
