"""What a pass over some rows costs, in tokens: those computed, padding among them, and its overhead.

On a CPU a pass that trains takes s · T + o · L + w seconds: T padded tokens at s = 4 P / rate (forward and
backward of a frozen base, P parameters), o for each of L layers to call its kernels, and w = `read` · s,
since weights are read whole however few tokens there are. A GPU computes while the next kernels are called:
it takes the longer of s · T and o · L. Measured by `benchmarks/pass_cost.py` with LoRA r 16 on all linear
layers: on one core of a CPU (torch 2.13, float32; a model of 1 M parameters and 4 layers, one of 135 M and
30), and on an H100 (torch 2.11, bf16; 8 B parameters and 32 layers).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from ptspec.performance.choice import Lengths
from ptspec.performance.machine import Machine
from ptspec.recipe.shape import ModelShape

STEPS, MOST_ROWS = 32, 8192
"""Steps that are drawn from the rows that were measured, and rows of all of them."""


@dataclass(frozen=True)
class Speed:
    """`rate`: floating-point operations a second, of a CPU on each core; `call`: seconds that the kernels of
    a layer take to be called, forward and backward; `read`: tokens that reading the weights is worth;
    `overlaps`: whether it computes while the next kernels are called."""

    rate: float
    call: float
    read: float
    overlaps: bool


CPU = Speed(rate=30e9, call=4e-3, read=25, overlaps=False)
GPU = Speed(rate=300e12, call=6.2e-3, read=0, overlaps=True)


@dataclass(frozen=True)
class Overhead:
    """What a pass costs whatever its rows: `tokens` beside its own, or where it `overlaps`, at least."""

    tokens: float
    overlaps: bool = False

    def with_it(self, padded: float) -> float:
        """Tokens that a pass over `padded` of them costs."""
        return max(padded, self.tokens) if self.overlaps else padded + self.tokens


NO_OVERHEAD = Overhead(0)
"""Of padded tokens alone."""


def overhead(shape: ModelShape, machine: Machine) -> Overhead:
    """What a pass costs whatever its rows."""
    speed = CPU if machine.is_cpu else GPU
    threads = machine.threads if machine.is_cpu else 1
    a_token = 4 * shape.parameters / (speed.rate * threads)
    return Overhead(speed.read + shape.layers * speed.call / a_token, speed.overlaps)


@dataclass(frozen=True)
class Cut:
    """How a step's rows are cut: `rows` a pass; `sorted_rows`: by length within a step, so that rows of a
    length share a pass."""

    rows: int
    sorted_rows: bool


def cost(lengths: Lengths, step: int, cut: Cut, overhead: Overhead, together: int = 1) -> float:
    """Tokens that a step of `step` rows costs in the mean.

    Steps are drawn from `lengths` as a trainer draws its rows, always the same ones. `together`: processes
    whose passes wait for the longest of them."""
    steps = _steps(lengths.padded, step, cut.sorted_rows)
    size = cut.rows * together
    passes = (max(rows[at : at + size]) * cut.rows for rows in steps for at in range(0, step, size))
    return sum(map(overhead.with_it, passes)) / len(steps)


@lru_cache(maxsize=16)
def _steps(padded: tuple[int, ...], step: int, sorted_rows: bool) -> tuple[list[int], ...]:
    """Lengths of the rows of some steps of `step` rows: fewer of large ones."""
    draw = random.Random(0)
    drawn = [draw.choices(padded, k=step) for _ in range(max(1, min(STEPS, MOST_ROWS // step)))]
    return tuple(sorted(rows) if sorted_rows else rows for rows in drawn)
