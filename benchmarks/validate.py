"""What `pt validate` costs beyond the libraries it stands on, for every shipped recipe, its data included.

Whole processes, in turn: `pt validate RECIPE` against a process that imports the same libraries and ends.
Prints for each recipe the medians over the runs of the ratios of neighbours, of seconds that passed and of
processor seconds, which other work on the machine disturbs less. The last line is a typer program that takes
the same argument and does nothing: typer loads pydantic for any command with an argument.

    python benchmarks/validate.py [--runs 9] [RECIPE…]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARIES = "import typer, pydantic, jsonschema, referencing.jsonschema, rich.console; pydantic.TypeAdapter\n"
NOTHING = "from pathlib import Path\ndef main(recipes: list[Path]) -> None: pass\ntyper.run(main)\n"
VALIDATE = "from ptspec.cli import main\nmain()"


def seconds(program: str, *arguments: str) -> tuple[float, float]:
    """Seconds that passed, and processor seconds, of a whole process."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    passed = time.perf_counter() - begin
    if process.returncode:
        sys.exit(f"exit {process.returncode}: {program} {' '.join(arguments)}")
    return passed, usage.ru_utime + usage.ru_stime


def compare(name: str, program: str, arguments: list[str], runs: int) -> None:
    pairs = [(seconds(program, *arguments), seconds(LIBRARIES)) for _ in range(runs)]
    wall, processor = (statistics.median(ours[k] / theirs[k] for ours, theirs in pairs) for k in (0, 1))
    ours, theirs = (1e3 * statistics.median(pair[k][1] for pair in pairs) for k in (0, 1))
    print(f"{name:32} {wall:8.2f} {processor:10.2f} {ours:9.0f} ms {theirs:8.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("recipes", nargs="*", help="Else all that ship.")
    options = parser.parse_args()
    shipped = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").glob("*.json"))
    seconds(VALIDATE, "validate", shipped[0]), seconds(LIBRARIES)
    print(f"{'ratio to the libraries alone':32} {'passed':>8} {'processor':>10} {'pt':>12} {'libraries':>11}")
    for recipe in options.recipes or shipped:
        compare(recipe, VALIDATE, ["validate", recipe], options.runs)
    compare("a typer program that does nothing", LIBRARIES + NOTHING, shipped[:1], options.runs)


if __name__ == "__main__":
    main()
