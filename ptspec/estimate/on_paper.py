"""A stage on given devices: memory, communication, step time, and scaling limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ptspec.estimate.devices import Device
from ptspec.estimate.held import Holder
from ptspec.estimate.memory import Memory
from ptspec.estimate.step_time import BEST, FASTEST, SLOWEST, WORST, Scenario, StepWork, step_work
from ptspec.recipe.batch_split import PASSES, ROWS, rows_of_a_step, split
from ptspec.recipe.compute_rules import ACCELERATE
from ptspec.recipe.effective_config import EffectiveConfig, config_of
from ptspec.recipe.plan import ComputeSpec

WORTH = 1.5
"""Speed-up that doubling the processes should bring at least."""
MOST = 4096
"""Maximum number of processes in a table."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Cluster:
    """The devices of a plan on paper; a node has `node` of them."""

    device: Device
    node: int

    def compute(self, given: ComputeSpec, processes: int) -> ComputeSpec:
        """Return `given` with so many processes."""
        if processes == given.world:
            return given
        nodes = math.ceil(processes / self.node)
        while processes % nodes:
            nodes += 1
        return replace(given, launcher=ACCELERATE, processes=processes // nodes, nodes=nodes)


@dataclass(frozen=True)
class Point:
    """A number of processes: `rows` per pass and `passes` per step in each.

    Ranges are (lower, upper). `seconds`: per step; `speed_up`: rows per second relative to one process;
    `memory`: bytes in each, None if unknown.
    """

    processes: int
    nodes: int
    rows: int
    passes: int
    memory: int | None
    seconds: Range
    speed_up: Range

    @property
    def efficiency(self) -> Range:
        """Speed-up per process, lower and upper."""
        return self.speed_up[0] / self.processes, self.speed_up[1] / self.processes


@dataclass(frozen=True)
class OnPaper:
    """The forecast of a stage on a cluster.

    `work` and `here` are for the planned number of processes. `stops`: the number of processes from which
    doubling gains less than `WORTH`, at worst and at best; None: none of `points`. `limit`: rows of a step,
    the most processes that can share it; None if each takes as many.
    """

    device: Device
    here: Point
    work: StepWork
    points: tuple[Point, ...]
    stops: tuple[int | None, int | None]
    limit: int | None

    @property
    def computing(self) -> Range:
        """Seconds of computing per step, lower and upper."""
        return self.work.computing(FASTEST.share), self.work.computing(SLOWEST.share)

    @property
    def sending(self) -> Range:
        """Seconds of communication per step, lower and upper."""
        return self.work.sending(FASTEST.reached), self.work.sending(SLOWEST.reached)


def on_paper(
    holder: Holder,
    cluster: Cluster,
    tokens_a_row: float,
    memory_of: Callable[[EffectiveConfig], Memory | None],
) -> OnPaper:
    """Return the stage of `holder` on `cluster`, with mean tokens per row (both answers of a pair)."""
    sequences = holder.settings.stage.method.loss.sequences

    def work(settings: EffectiveConfig) -> StepWork:
        tokens = settings.number(ROWS, 8) * max(1, settings.number(PASSES, 1)) * tokens_a_row
        changed = replace(holder, settings=settings)
        return step_work(changed, cluster.device, settings.compute.nodes, tokens, tokens_a_row / sequences)

    given = holder.settings
    alone = work(_with(given, cluster, 1))

    def point(processes: int) -> Point:
        settings = _with(given, cluster, processes)
        done, memory = work(settings), memory_of(settings)
        # If each takes as many rows, a step has more rows in total.
        more = 1 if given.compute.keep_effective_batch else processes

        def speed_up(scenario: Scenario) -> float:
            return more * scenario.step(alone) / scenario.step(done)

        return Point(
            processes,
            settings.compute.nodes,
            settings.number(ROWS, 8),
            max(1, settings.number(PASSES, 1)),
            memory.total if memory is not None else None,
            (FASTEST.step(done), SLOWEST.step(done)),
            (speed_up(WORST), speed_up(BEST)),
        )

    points = tuple(point(count) for count in _counts(given))
    here = next(one for one in points if one.processes == given.compute.world)
    limit = rows_of_a_step(config_of(given.stage)) if given.compute.keep_effective_batch else None
    stops = (_stops(points, 0), _stops(points, 1))
    return OnPaper(cluster.device, here, work(given), points, stops, limit)


def _with(settings: EffectiveConfig, cluster: Cluster, processes: int) -> EffectiveConfig:
    compute = cluster.compute(settings.compute, processes)
    return EffectiveConfig(replace(settings.stage, compute=compute), compute, settings.gpu)


def _counts(settings: EffectiveConfig) -> Iterator[int]:
    """Return the numbers of processes to show: doubled up to the rows of a step, and the planned one."""
    planned, config = settings.compute.world, config_of(settings.stage)
    most = min(rows_of_a_step(config), MOST) if settings.compute.keep_effective_batch else 4 * planned
    doubled = {2**power for power in range(MOST.bit_length()) if 2**power <= most}
    for count in sorted(doubled | {planned}):
        if count == planned or not settings.compute.keep_effective_batch or split(config, count):
            yield count


def _stops(points: tuple[Point, ...], end: int) -> int | None:
    by_count = {one.processes: one.speed_up[end] for one in points}
    for count, now in sorted(by_count.items()):
        if 2 * count in by_count and by_count[2 * count] < WORTH * now:
            return count
    return None
