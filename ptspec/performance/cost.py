"""The cost of a pass in tokens: computed tokens, padding included, plus overhead.

On a CPU a training pass takes s · T + o · L + w seconds: T padded tokens at s = 4 P / rate (forward and
backward of a frozen base, P parameters), o per layer of L to launch its kernels, and w = `read` · s, since
weights are read whole however few tokens there are. A GPU computes while the next kernels are launched: it
takes the longer of s · T and o · L. Measured by `benchmarks/pass_cost.py` with LoRA r 16 on all linear
layers: on one CPU core (torch 2.13, float32; a model of 1 M parameters and 4 layers, one of 135 M and 30),
and on an H100 (torch 2.11, bf16; 8 B parameters and 32 layers).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from ptspec.performance.choice import Lengths
from ptspec.performance.machine import Machine
from ptspec.recipe.shape import ModelShape

STEPS, MOST_ROWS = 32, 8192
"""Number of steps drawn from the measured rows, and their maximum number of rows."""


@dataclass(frozen=True)
class Speed:
    """Speed of a kind of device.

    `rate`: FLOP/s, of a CPU per core; `call`: seconds to launch the kernels of a layer, forward and backward;
    `read`: cost of reading the weights, in tokens; `overlaps`: whether it computes while kernels are
    launched.
    """

    rate: float
    call: float
    read: float
    overlaps: bool


CPU = Speed(rate=30e9, call=4e-3, read=25, overlaps=False)
GPU = Speed(rate=300e12, call=6.2e-3, read=0, overlaps=True)


@dataclass(frozen=True)
class Overhead:
    """The fixed cost of a pass in tokens, in addition to its rows; or a minimum if it `overlaps`."""

    tokens: float
    overlaps: bool = False

    def with_it(self, padded: float) -> float:
        """Return the cost, in tokens, of a pass over `padded` tokens."""
        return max(padded, self.tokens) if self.overlaps else padded + self.tokens


NO_OVERHEAD = Overhead(0)
"""A pass that costs its padded tokens only."""


def overhead(shape: ModelShape, machine: Machine) -> Overhead:
    """Return the fixed cost of a pass."""
    speed = CPU if machine.is_cpu else GPU
    threads = machine.threads if machine.is_cpu else 1
    a_token = 4 * shape.parameters / (speed.rate * threads)
    return Overhead(speed.read + shape.layers * speed.call / a_token, speed.overlaps)


@dataclass(frozen=True)
class Cut:
    """How a step's rows are split: `rows` per pass; `sorted_rows`: sorted by length within the step."""

    rows: int
    sorted_rows: bool


def cost(lengths: Lengths, step: int, cut: Cut, overhead: Overhead, together: int = 1) -> float:
    """Return the mean cost of a step of `step` rows, in tokens.

    Steps are drawn from `lengths` as a trainer draws its rows, with a fixed seed. `together`: processes whose
    passes wait for the longest of them.
    """
    steps = _steps(lengths.padded, step, cut.sorted_rows)
    size = cut.rows * together
    passes = (max(rows[at : at + size]) * cut.rows for rows in steps for at in range(0, step, size))
    return sum(map(overhead.with_it, passes)) / len(steps)


@lru_cache(maxsize=16)
def _steps(padded: tuple[int, ...], step: int, sorted_rows: bool) -> tuple[list[int], ...]:
    """Return the row lengths of some steps of `step` rows: fewer steps if they are large."""
    draw = random.Random(0)
    drawn = [draw.choices(padded, k=step) for _ in range(max(1, min(STEPS, MOST_ROWS // step)))]
    return tuple(sorted(rows) if sorted_rows else rows for rows in drawn)
