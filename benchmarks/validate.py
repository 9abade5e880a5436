"""What `pt validate` costs beyond the libraries it stands on, for every shipped recipe, its data included.

Whole processes, in turn: `pt validate RECIPE` against a typer program that takes the same argument, imports
the same libraries, and does nothing. Which these are is asked of `pt validate` itself before anything is
timed. Prints for each recipe the medians over the rounds of the ratios of neighbours, with the least and the
most, of processor seconds, which other work on the machine disturbs less, and of seconds that passed.

    python benchmarks/validate.py [--rounds 9] [RECIPE…]

Wanted: at most 1.5. Ends with 1 where the processor seconds of a recipe are above that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

from whole_process import ROOT, Cost, cost

BOUND = 1.5
VALIDATE = "from ptspec.cli import main\nmain()"
LIBRARIES = """
import json, sys
from ptspec.cli import main
try:
    main(["validate", *sys.argv[1:]])
except SystemExit as end:
    if end.code:
        raise
ours = {"__main__", "ptspec", "_distutils_hack", *sys.stdlib_module_names}
print(json.dumps([name for name in sys.modules if name.partition(".")[0] not in ours and name[0] != "_"]))
"""
NOTHING = """
import importlib
for name in {libraries!r}:
    importlib.import_module(name)
from pathlib import Path
import typer
def main(recipes: list[Path]) -> None: pass
typer.run(main)
"""


def libraries(recipe: str) -> list[str]:
    """The modules of other packages that are loaded once `recipe` has been validated, in their order."""
    told = subprocess.run(
        [sys.executable, "-c", LIBRARIES, recipe], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found: list[str] = json.loads(told.stdout)
    return found


def ratios(pairs: Sequence[tuple[Cost, Cost]], of: str) -> str:
    """Median, least and most."""
    found = [getattr(ours, of) / getattr(theirs, of) for ours, theirs in pairs]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def compare(recipe: str, rounds: int) -> float:
    """The median ratio of processor seconds."""
    peer = [sys.executable, "-c", NOTHING.format(libraries=libraries(recipe)), recipe]
    ours = [sys.executable, "-c", VALIDATE, "validate", recipe]
    cost(ours), cost(peer)
    pairs = [(cost(ours), cost(peer)) for _ in range(rounds)]
    milliseconds = [1e3 * statistics.median(pair[at].processor for pair in pairs) for at in (0, 1)]
    print(
        f"{recipe:30} {ratios(pairs, 'processor'):>20} {ratios(pairs, 'wall'):>20} "
        f"{milliseconds[0]:6.0f} ms {milliseconds[1]:6.0f} ms",
        flush=True,
    )
    return statistics.median(one.processor / other.processor for one, other in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("recipes", nargs="*", help="Else all that ship.")
    options = parser.parse_args()
    shipped = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").glob("*.json"))
    print(f"{'pt validate / typer program':30} {'processor':>20} {'passed':>20} {'pt':>9} {'typer':>9}")
    slow = [recipe for recipe in options.recipes or shipped if compare(recipe, options.rounds) > BOUND]
    print(f"above {BOUND}: {', '.join(slow) or 'none'}; load {os.getloadavg()[0]:.1f}")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
