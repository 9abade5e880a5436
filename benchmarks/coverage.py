"""How often the evaluation's 95 % intervals hold the truth, and how often its tests err. About ten minutes.

Samples of known truth, from 2 to 1,000 rows, 1 to 500 tests, rows in clusters. The tables stand in
docs/evaluation.md; tests/unit/evaluation/stats/ repeats a part of them.

    python benchmarks/coverage.py [--times 2000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.simulation import NULL, SINGLE, clustered, coverage, false_positives, families

from ptspec.evaluation.stats.tests import benjamini_hochberg, holm

SIZES = (2, 5, 8, 20, 50, 200, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2000)
    times = parser.parse_args().times
    singles(times)
    tests(times)
    corrections(max(20, times // 10))
    clusters(times // 2)


def row(name: str, values: list[float | None]) -> None:
    cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def singles(times: int) -> None:
    print(f"\nCoverage of a single run's 95 % intervals, %: rows {SIZES}")
    for name, (draw, truth) in SINGLE.items():
        row(name, [coverage(draw, truth, n, _fewer(times, n)) for n in SIZES])


def tests(times: int) -> None:
    print(f"\nFalse alarms of paired tests at 5 %, %: rows {SIZES}")
    for name, draw in NULL.items():
        row(name, [false_positives(draw, n, _fewer(times, n)) for n in SIZES])


def corrections(times: int) -> None:
    print("\nFamilies of tests, 100 rows: false verdict in a family, share of false ones, real ones shown")
    for correction in (holm, benjamini_hochberg):
        for count in (1, 4, 20, 100, 500):
            for real in (0, max(1, count // 5)) if count > 1 else (0,):
                found = families(count, correction, n=100, times=_fewer(times, count), real=real)
                row(f"{correction.__name__}, {count} tests, {real} real", list(found))


def clusters(times: int) -> None:
    print("\nClusters: coverage and false alarms, %; and of the same rows taken for independent ones")
    for kind in ("mean", "share", "accuracy, paired"):
        for count, rows in ((5, 8), (10, 8), (20, 8), (50, 4), (200, 4)):
            found = [clustered(kind, count, rows, 0.3, times, known=known) for known in (True, False)]
            cells = [value for pair in found for value in pair]
            row(f"{kind}, {count} × {rows}", [cells[0], None, cells[2], None] if kind == "share" else cells)


def _fewer(times: int, size: int) -> int:
    return max(20, times // 4) if size >= 200 else times


if __name__ == "__main__":
    main()
