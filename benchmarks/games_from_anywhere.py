"""How near Nash-MD ends to the fixed point of each game, from three starts each.

    python benchmarks/games_from_anywhere.py            # about five minutes of one core

The policy begins at about 80/10/10, each of three answers the favourite in turn. The fixed point is solved in
float64 without the product (`tests/support/games.py`); the distance is the total variation. Exits with 1
where one is above 0.05. tests/e2e/test_games.py repeats three of the nine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from support import games  # noqa: E402

BOUND = 0.05


def main() -> int:
    torch.set_num_threads(1)
    farthest = 0.0
    for game in games.GAMES:
        for favourite in range(3):
            before, after = games.distances(game, favourite, Path(tempfile.mkdtemp()))
            print(f"{game.name:20} {game.answers[favourite]:16} {before:.3f} → {after:.4f}", flush=True)
            farthest = max(farthest, after)
    return int(farthest > BOUND)


if __name__ == "__main__":
    sys.exit(main())
