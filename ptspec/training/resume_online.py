"""What the trainers of online methods keep between two steps and do not save: half-used completions, and what
a judge has said.

TRL's trainers that sample, and with them Nash-MD's, use one batch of completions for several passes
(`passes_of_a_generation`); a trainer that is made again samples anew.
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
"""What the judge of each process has said."""


class Remembering(Protocol):
    """A judge that keeps what it was told, and may say something else when it is asked again."""

    def memory(self) -> dict[str, Any]:
        """What it knows, as JSON."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Takes up what `memory` gave, beside what it knows."""


def remember(judge: Remembering, folder: Path, process: int) -> None:
    """Writes what the judge of a process knows into a checkpoint."""
    write_json(folder / JUDGE.format(process), judge.memory())


def recall(judge: Remembering, folder: Path, process: int, processes: int) -> None:
    """Has the judge of a process take up what a checkpoint holds: of more processes than there are now, each
    takes its part."""
    for number in range(process, len(list(folder.glob(JUDGE.format("*")))), processes):
        judge.recall(read_json(folder / JUDGE.format(number)))


@dataclass(frozen=True)
class Position:
    """`step` counts forward and backward passes; `completions` is None where none are half used."""

    step: int
    completions: Completions | None


def position(trainer: Any) -> Position | None:
    """Where `trainer` is between two steps; None for one that generates nothing."""
    if not hasattr(trainer, "_buffered_inputs"):
        return None
    every = passes_of_a_generation(trainer)
    return Position(trainer._step, trainer._buffered_inputs if trainer._step % every else None)


def go_to(trainer: Any, place: Position) -> None:
    """Puts `trainer` where it was."""
    trainer._step, trainer._buffered_inputs = place.step, place.completions


def sample_anew(trainer: Any, steps: int) -> None:
    """Puts `trainer` after `steps` optimizer steps, with no completions to go on with: at the edge of a
    batch, and where those that were half used are shared out among another number of processes."""
    if hasattr(trainer, "_buffered_inputs"):
        go_to(trainer, Position(steps * trainer.args.gradient_accumulation_steps, None))


def store(place: Position, folder: Path, process: int) -> None:
    """Writes half-used completions into a checkpoint; at the edge of a batch there is nothing to write."""
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
    """The completions that a checkpoint holds half used, cut into `parts_wanted` (other than were stored
    where the rows a pass have changed since); None where there are none."""
    file = folder / _file(process)
    if not file.is_file():
        return None
    # Several processes on a CPU have one each, "cpu:0", which safetensors does not know.
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
    """The batch that was split into `parts`: what has a row for each completion, one after the other; any
    other value is that of the whole batch in each part already."""
    return {name: _whole([part[name] for part in parts]) for name in parts[0]}


def _whole(pieces: list[Any]) -> Any:
    first = pieces[0]
    if isinstance(first, Tensor) and first.ndim > 0:
        return torch.cat(pieces)
    return [row for piece in pieces for row in piece] if isinstance(first, list) else first


def _file(process: int) -> str:
    return f"half_used_completions_{process}.safetensors"
