"""How the interpreter's own work grows: with stages, rows, the model's size and logged steps.

    python benchmarks/growth.py --run outputs/sft_dpo            # a run of recipes/sft_dpo.json; 15 minutes
    python benchmarks/growth.py --run outputs/sft_dpo --most     # up to 10⁷ rows and a model of 10⁹ weights
    python benchmarks/growth.py --run outputs/sft_dpo --only validate-rows plan-stages

Whole processes of `pt`, hashes of files forgotten before each: processor seconds (the least of the rounds:
other work only adds to them) and the largest resident set. What a series costs at its smallest size is what
starting takes; the exponent is that of the growth above it between the last two sizes where there is any (1:
linear; –: less than a quarter second in all). Prints a table; --keep FILE adds what is found to those of
earlier calls and --picture FILE draws all of it. Ends with 1 where an exponent is above 1.15.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from growth_series import PT, Series, all_series
from whole_process import Cost, cost

BOUND = 1.15
SHORTEST = 0.25
"""Seconds of growth below which no exponent is told: the start of a process varies by a tenth."""
PATIENCE = 60.0
"""Seconds that have passed in a size from which on no further round is made."""


@dataclass(frozen=True)
class Grown:
    """A series measured: of each size processor seconds, the least and the most of the rounds, and bytes."""

    unit: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    most: tuple[float, ...]
    memory: tuple[int, ...]

    @property
    def exponent(self) -> float | None:
        """Of the growth above the smallest size; None where there is next to none."""
        grown = zip(self.sizes[1:], self.seconds[1:], strict=True)
        above = [
            (n - self.sizes[0], s - self.seconds[0]) for n, s in grown if s - self.seconds[0] >= SHORTEST
        ]
        if len(above) < 2:
            return None
        (before, low), (last, high) = above[-2:]
        return math.log(high / low) / math.log(last / before)

    def row(self, name: str) -> str:
        cells = (
            f"{size:,}: {least:.2f} s (to {most:.2f}), {memory / 1e6:,.0f} MB"
            for size, least, most, memory in zip(
                self.sizes, self.seconds, self.most, self.memory, strict=True
            )
        )
        power = self.exponent
        return f"{name} ({self.unit}) | {', '.join(cells)} | {'–' if power is None else f'{power:.2f}'}"


def measured(series: Series, sizes: Sequence[int], rounds: int) -> Grown:
    """`rounds` of all sizes in turn, after one of the smallest that does not count."""
    costs: dict[int, list[Cost]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as name:
        commands = {}
        for size in sizes:
            folder = Path(name) / str(size)
            folder.mkdir()
            commands[size] = [*PT, *series.command(folder, size)]
        cost(commands[sizes[0]])
        for turn in range(rounds):
            for size, command in commands.items():
                if sum(one.wall for one in costs[size]) < PATIENCE:
                    costs[size].append(cost(command, {"XDG_CACHE_HOME": f"{name}/cache{size}-{turn}"}))
    seconds = [[one.processor for one in costs[size]] for size in sizes]
    memory = tuple(max(one.memory for one in costs[size]) for size in sizes)
    return Grown(series.unit, tuple(sizes), tuple(map(min, seconds)), tuple(map(max, seconds)), memory)


def draw(found: Mapping[str, Grown], file: Path) -> None:
    """Each series on logarithmic axes; dashed what it would be if all of its growth were linear."""
    from matplotlib.figure import Figure

    columns = 4
    tall = math.ceil(len(found) / columns)
    figure = Figure(figsize=(3 * columns, 2.6 * tall), layout="constrained")
    for place, (name, one) in enumerate(found.items(), 1):
        axes = figure.add_subplot(tall, columns, place)
        start, (first, last) = one.seconds[0], (one.sizes[0], one.sizes[-1])
        steps = [first * (last / first) ** (at / 50) for at in range(51)]
        slope = max(0.0, one.seconds[-1] - start) / (last - first)
        axes.loglog(steps, [start + slope * (at - first) for at in steps], "--", color="#999999", linewidth=1)
        axes.loglog(one.sizes, one.seconds, "o-", color="#0072b2", markersize=4)
        power = "no growth" if one.exponent is None else f"exponent {one.exponent:.2f}"
        axes.set_title(f"{name}: {power}", loc="left", fontsize=9)
        axes.set_xlabel(one.unit, fontsize=8)
        axes.set_ylabel("processor seconds", fontsize=8)
        axes.set_ylim(0.5, max(20.0, 2 * max(one.seconds)))
        axes.tick_params(labelsize=8)
        axes.grid(color="#ececec")
    figure.savefig(file, dpi=110)


def kept(file: Path | None) -> dict[str, Grown]:
    if file is None or not file.exists():
        return {}
    told = json.loads(file.read_text())
    return {
        name: Grown(**{key: _as_written(value) for key, value in one.items()}) for name, one in told.items()
    }


def _as_written(value: Any) -> Any:
    """A list of JSON as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--most", action="store_true", help="The largest sizes, too: 10 GB and an hour.")
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="A JSON file of what was found.")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    series = all_series(given.run.resolve())
    found = kept(given.keep)
    steep = []
    for one in series:
        if given.only and one.name not in given.only:
            continue
        sizes = (*one.sizes, *(one.more if given.most else ()))
        grown = found[one.name] = measured(one, sizes, given.rounds)
        load = os.getloadavg()[0]
        print(f"{grown.row(one.name)} | load {load:.1f}", flush=True)
        if grown.exponent is not None and grown.exponent > BOUND:
            steep.append(one.name)
        if given.keep:
            given.keep.write_text(json.dumps({name: asdict(grown) for name, grown in found.items()}))
    if given.picture:
        draw({one.name: found[one.name] for one in series if one.name in found}, given.picture)
    print(f"steeper than linear: {', '.join(steep) or 'none'}")
    return int(bool(steep))


if __name__ == "__main__":
    sys.exit(main())
