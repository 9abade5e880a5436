"""How often `pick` calls variants distinguishable that are not, and how far its value is from the truth.

    python benchmarks/pick_simulated.py [--simulations 1000] [--only WORDS]

Variants are drawn from what is known: rows of different difficulty, so that the variants' values on a row go
together, and a true quality of each variant. Told are, for each setting, with the share's standard error:

    next best   the picked one is called distinguishable from the next best, which is as good or better
    any         it is called distinguishable from any that is as good or better
    optimism    of the picked value, and of the value on rows left out of the choice (0 is right)
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptspec import methods
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.paired.select import select
from ptspec.evaluation.selection import Selection
from ptspec.events import Figure
from ptspec.recipe.plan import AdapterSpec, PickSpec, Stage, VariantSpec

METRIC = "style"
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """`qualities`: what each combination truly is, in standard deviations of a row.

    `seeds`: how many each is trained with; `of_seeds`: the standard deviation that a seed adds to all rows.
    `shares`: each value is 0 or 1, and else a number.
    """

    name: str
    qualities: tuple[float, ...]
    rows: int
    shares: bool = True
    seeds: int = 1
    of_seeds: float = 0.0


SETTINGS = (
    Setting("2 equal, 160 rows", (0, 0), 160),
    Setting("6 equal, 160 rows", (0,) * 6, 160),
    Setting("6 equal, 40 rows", (0,) * 6, 40),
    Setting("2 equal, 4 worse, 160 rows", (0, 0, -1, -1, -1, -1), 160),
    Setting("6 equal, numbers, 160 rows", (0,) * 6, 160, shares=False),
    Setting("2 equal, numbers, 160 rows", (0, 0), 160, shares=False),
    Setting("3 equal, 3 seeds that matter little", (0,) * 3, 160, seeds=3, of_seeds=0.05),
    Setting("3 equal, 3 seeds that matter", (0,) * 3, 160, seeds=3, of_seeds=0.5),
    Setting("2 equal, 2 seeds that matter", (0, 0), 160, seeds=2, of_seeds=0.5),
    Setting("2 equal, 5 seeds that matter", (0, 0), 160, seeds=5, of_seeds=0.5),
    Setting("6, one better by 0.8, 160 rows", (0.8, 0, 0, 0, 0, 0), 160),
)


def drawn(setting: Setting, random: np.random.Generator) -> list[Array]:
    """The values of each variant, row by row; seeds of a combination one after the other."""
    difficulty = random.normal(size=setting.rows)
    found = []
    for quality in setting.qualities:
        for _ in range(setting.seeds):
            own = random.normal(size=setting.rows) + random.normal() * setting.of_seeds
            latent = (difficulty + own) / math.sqrt(2) + quality
            found.append((latent > 0).astype(np.float64) if setting.shares else latent)
    return found


def truth(setting: Setting, quality: float) -> float:
    """The expected value of a combination."""
    if not setting.shares:
        return quality
    spread = math.sqrt(1 + setting.of_seeds**2 / 2)
    return 0.5 * math.erfc(-quality / spread / math.sqrt(2))


def picked(values: Sequence[Array], seeds: int, seed: int) -> Selection:
    """What is picked of variants with these values."""
    names = [f"dpo.{number}" for number in range(1, len(values) + 1)]
    settings: list[dict[str, object]] = [
        {"beta": index // seeds, **({"seed": index % seeds} if seeds > 1 else {})}
        for index in range(len(values))
    ]
    method, adapter = methods.get("dpo"), AdapterSpec(True)
    variants = [
        Stage(name, method, "sft", None, "train", adapter, variant=VariantSpec("dpo", number, given))
        for number, (name, given) in enumerate(zip(names, settings, strict=True), start=1)
    ]
    pick = PickSpec(METRIC, tuple(names))
    stage = Stage("dpo", method, "sft", None, "train", adapter, pick=pick)
    measured = {name: _measured(name, of) for name, of in zip(names, values, strict=True)}
    found = select(stage, pick, variants, measured, seed=seed)
    assert found is not None
    return found


def _measured(name: str, values: Array) -> Measurement:
    rows = tuple(
        RowMeasurement(str(row), f"prompt {row}", rewards={METRIC: value})
        for row, value in enumerate(values.tolist())
    )
    metrics = {METRIC: Figure(float(values.mean()))}
    return Measurement(name, rows, metrics, Settings(42, 48, "sft", False))


@dataclass(frozen=True)
class Found:
    """The results of `simulations`.

    The share of false calls against the next best and against any, and the mean optimism of the picked and
    the held-out value.
    """

    setting: Setting
    simulations: int
    next_best: float
    any: float
    optimism: float
    held_out: float
    right: float

    @property
    def words(self) -> str:
        error = math.sqrt(0.05 * 0.95 / self.simulations)
        return (
            f"{self.setting.name:38}  next best {self.next_best:6.1%}  any {self.any:6.1%}  (± {error:.1%})  "
            f"optimism {self.optimism:+.4f}, held out {self.held_out:+.4f}  true calls {self.right:5.1%}"
        )


def simulate(setting: Setting, simulations: int, seed: int = 1) -> Found:
    random = np.random.default_rng(seed)
    next_best = anything = right = 0
    optimism, held_out = [], []
    for number in range(simulations):
        found = picked(drawn(setting, random), setting.seeds, number)
        quality = setting.qualities[found.chosen]
        false = [
            one.rival is not None and one.rival.is_distinguishable and setting.qualities[i] >= quality
            for i, one in enumerate(found.combinations)
        ]
        after = found.runner_up
        assert after is not None and found.next_best is not None and after.rival is not None
        next_best += false[found.next_best]
        anything += any(false)
        right += after.rival.is_distinguishable and not false[found.next_best]
        assert found.best.value is not None and found.held_out is not None
        optimism.append(found.best.value.value - truth(setting, quality))
        held_out.append(found.held_out - truth(setting, quality))
    share = 1 / simulations
    return Found(
        setting,
        simulations,
        next_best * share,
        anything * share,
        float(np.mean(optimism)),
        float(np.mean(held_out)),
        right * share,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--only", default="", help="settings whose name holds this")
    given = parser.parse_args()
    for setting in SETTINGS:
        if given.only in setting.name:
            begun = time.process_time()
            found = simulate(setting, given.simulations)
            print(f"{found.words}  {time.process_time() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
