"""State of online trainers between two steps that TRL does not save: half-used completions, judge verdicts.

TRL's sampling trainers, Nash-MD's included, use one batch of completions for several passes
(`passes_of_a_generation`); a new trainer samples anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from trl.trainer.utils import split_tensor_dict

from ptspec.store.files import read_json, write_json
from ptspec.training.generation_batch import passes_of_a_generation

Completions = list[dict[str, Any]]
"""A batch of completions in the parts that steps take one by one: tensors, and a few plain values."""

JUDGE = "judge_answers_{}.json"
"""File with the verdicts of each process's judge."""


class Remembering(Protocol):
    """A judge that stores its verdicts and might decide differently when asked again."""

    def memory(self) -> dict[str, Any]:
        """Return its verdicts as JSON."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Add verdicts that `memory` returned."""


def remember(judge: Remembering, folder: Path, process: int) -> None:
    """Write the verdicts of a process's judge to a checkpoint."""
    write_json(folder / JUDGE.format(process), judge.memory())


def recall(judge: Remembering, folder: Path, process: int, processes: int) -> None:
    """Load a checkpoint's verdicts into a process's judge, split over fewer processes if needed."""
    for number in range(process, len(list(folder.glob(JUDGE.format("*")))), processes):
        judge.recall(read_json(folder / JUDGE.format(number)))


@dataclass(frozen=True)
class Position:
    """`step` counts forward and backward passes; `completions` is None if none are half used."""

    step: int
    completions: Completions | None


def position(trainer: Any) -> Position | None:
    """Return the position of `trainer` between two steps; None for one that does not generate."""
    if not hasattr(trainer, "_buffered_inputs"):
        return None
    every = passes_of_a_generation(trainer)
    return Position(trainer._step, trainer._buffered_inputs if trainer._step % every else None)


def go_to(trainer: Any, place: Position) -> None:
    """Restore the position of `trainer`."""
    trainer._step, trainer._buffered_inputs = place.step, place.completions


def sample_anew(trainer: Any, steps: int) -> None:
    """Set `trainer` after `steps` optimizer steps, without completions to continue with.

    At the edge of a batch, and where half-used ones would be split over another number of processes.
    """
    if hasattr(trainer, "_buffered_inputs"):
        go_to(trainer, Position(steps * trainer.args.gradient_accumulation_steps, None))


def store(place: Position, folder: Path, process: int) -> None:
    """Write half-used completions to a checkpoint; at the edge of a batch nothing is written."""
    if place.completions is None:
        return
    tensors: dict[str, Tensor] = {}
    plain: list[dict[str, Any]] = []
    for number, part in enumerate(place.completions):
        plain.append({name: value for name, value in part.items() if not isinstance(value, Tensor)})
        tensors |= {
            f"{number}.{name}": value.detach().cpu().clone()
            for name, value in part.items()
            if isinstance(value, Tensor)
        }
    written = {"step": json.dumps(place.step), "plain": json.dumps(plain)}
    save_file(tensors, folder / _file(process), metadata=written)


def stored(folder: Path, process: int, device: torch.device, parts_wanted: int) -> Position | None:
    """Return a checkpoint's half-used completions, split into `parts_wanted`; None if there are none.

    The stored number of parts differs if the rows per pass have changed since.
    """
    file = folder / _file(process)
    if not file.is_file():
        return None
    # With several processes on a CPU the device is "cpu:0", which safetensors does not accept.
    with safe_open(file, framework="pt", device="cpu") as opened:
        written = opened.metadata()
        parts: Completions = json.loads(written["plain"])
        for key in opened.keys():  # noqa: SIM118
            number, _, name = key.partition(".")
            parts[int(number)][name] = opened.get_tensor(key).to(device)
    done = json.loads(written["step"]) * parts_wanted // len(parts)
    if parts_wanted == len(parts):
        return Position(done, parts)
    return Position(done, split_tensor_dict(_joined(parts), parts_wanted))


def _joined(parts: Completions) -> dict[str, Any]:
    """Return the batch that was split into `parts`.

    Values with a row per completion are concatenated; others are the whole batch's in each part.
    """
    return {name: _whole([part[name] for part in parts]) for name in parts[0]}


def _whole(pieces: list[Any]) -> Any:
    first = pieces[0]
    if isinstance(first, Tensor) and first.ndim > 0:
        return torch.cat(pieces)
    return [row for piece in pieces for row in piece] if isinstance(first, list) else first


def _file(process: int) -> str:
    return f"half_used_completions_{process}.safetensors"
