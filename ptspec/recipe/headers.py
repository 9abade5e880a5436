"""Read safetensors headers: names, dtypes and shapes of tensors without their values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptspec.hub.cache import INDEX
from ptspec.recipe.hints import first_of
from ptspec.recipe.json_object import read_object

BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 1),
}
"""Bytes per element, by safetensors' dtype name."""

_MOST_HEADER = 100_000_000
"""The format's limit of a header, in bytes."""

_POINTER = int.from_bytes(b"version ", "little")
"""The first 8 bytes of a Git LFS pointer as a header length."""


class Tensor(NamedTuple):
    """`dtype` in safetensors' names, and the shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.elements * BYTES.get(self.dtype, 4)


class NoShape(ValueError):
    """A folder whose shape cannot be determined, and why."""


def read_headers(folder: Path) -> Mapping[str, Tensor]:
    """Return the tensors of all weight files of a model. Raises `NoShape` if one is missing or damaged."""
    files = weight_files(folder)
    if not files:
        raise NoShape("it has no *.safetensors")
    if gone := [file.name for file in files if not file.is_file()]:
        raise NoShape(f"{INDEX} lists files that are not there: {first_of(gone, 3)}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(read_header(file))
    if lost := [name for name in _index(folder) if name not in tensors]:
        raise NoShape(f"{INDEX} lists {len(lost)} tensors that no file holds, among them {lost[0]}")
    return tensors


def weight_files(folder: Path) -> list[Path]:
    """Return a model's safetensors files: those in its index, else all that are not adapters."""
    if index := _index(folder):
        return [folder / name for name in sorted(set(index.values()))]
    found = sorted(folder.glob("*.safetensors"))
    return [file for file in found if not file.name.startswith(("adapter_", "consolidated"))]


def _index(folder: Path) -> Mapping[str, str]:
    """Return tensor -> file of a sharded model; {} without an index."""
    found = read_object(folder / INDEX).get("weight_map")
    return {str(name): str(file) for name, file in found.items()} if isinstance(found, dict) else {}


def read_header(file: Path) -> Mapping[str, Tensor]:
    """Return names, dtypes and shapes in a safetensors file. Raises `NoShape` if it is damaged.

    Format: 8 bytes of little-endian length, then that many bytes of JSON, then the tensors
    (https://github.com/huggingface/safetensors#format).
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length == _POINTER:
                raise NoShape(f"{file.name} is a pointer of Git LFS: git lfs pull brings the file")
            if not 2 <= length <= _MOST_HEADER:
                raise NoShape(f"{file.name} is not a safetensors file")
            header = json.loads(stream.read(length))
        tensors = dict(_tensors(header))
        _check_size(file, 8 + length + max((int(e["data_offsets"][1]) for e in _entries(header)), default=0))
        return tensors
    except OSError as error:
        raise NoShape(f"{file.name} cannot be read: {error.strerror}") from error
    except NoShape:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise NoShape(f"{file.name} is not a safetensors file") from error


def _check_size(file: Path, expected: int) -> None:
    if (size := file.stat().st_size) < expected:
        raise NoShape(f"{file.name} is cut short: it has {size:,} bytes of {expected:,}")


def _entries(header: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (entry for name, entry in header.items() if name != "__metadata__")


def _tensors(header: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, Tensor(str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))
