"""Where Nash-MD ends with its own defaults, and with Adam's momentum as TRL has it: games × starts × seeds.

    python benchmarks/nash_md_defaults.py                    # the whole table; about 25 minutes of one core
    python benchmarks/nash_md_defaults.py --seeds 0 --games moves --starts sft

Answers of several tokens, learning rate 5e-4, 64 completions a step, beta .1, 300 steps; everything else as
the method has it. The distance is to the fixed point that `tests/support/games.py` solves in float64 without
the product: the largest difference of an answer's probability, and the total variation.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from support import games  # noqa: E402
from support.games import AS_IT_COMES, COEF, SPOKEN_GAMES, TAU, Game  # noqa: E402

SETTINGS: dict[str, dict[str, Any]] = {"ours": {}, "momentum": {"adam_beta1": 0.9}}
BOUND = 0.08


def measured(game: Game, start: Sequence[float], seed: int, config: dict[str, Any]) -> dict[str, Any]:
    policy = games.policy_of(game, start, seed)
    reference = games.distribution(policy, game)
    target = games.fixed_point(game, reference, TAU, COEF)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp())
    trained = games.play(game, policy, folder, settings=AS_IT_COMES, seed=seed, **config)
    end = games.distribution(trained, game)
    return {
        "start": reference,
        "fixed point": target,
        "end": end,
        "max": float((end - target).abs().max()),
        "TV": games.total_variation(end, target),
        "seconds": time.monotonic() - began,
    }


def rows(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    yield ("defaults", "game", "start", "seed", "fixed point", "end", "max", "TV", "seconds")
    for name in options.settings:
        for seed in options.seeds:
            for game in SPOKEN_GAMES:
                for kind, start in games.starts(game).items():
                    if game.name not in options.games or kind not in options.starts:
                        continue
                    found = measured(game, start, seed, SETTINGS[name])
                    yield (
                        *(name, game.name, kind, str(seed)),
                        *(_shares(found[key]) for key in ("fixed point", "end")),
                        *(f"{found[key]:.3f}" for key in ("max", "TV")),
                        f"{found['seconds']:.0f}",
                    )


def _shares(policy: torch.Tensor) -> str:
    return " ".join(f"{share:.2f}" for share in policy)


def main() -> None:
    kinds = list(games.starts(SPOKEN_GAMES[0]))
    names = [game.name for game in SPOKEN_GAMES]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--games", nargs="+", choices=names, default=names)
    parser.add_argument("--starts", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    worst: dict[str, float] = {}
    for row in rows(options):
        print("| " + " | ".join(row) + " |", flush=True)
        if row[0] == "defaults":
            print("|" + "---|" * len(row))
        else:
            worst[row[0]] = max(worst.get(row[0], 0.0), float(row[6]))
    for name, distance in worst.items():
        print(f"{name}: worst {distance:.3f}, {'within' if distance <= BOUND else 'above'} {BOUND}")


if __name__ == "__main__":
    main()
