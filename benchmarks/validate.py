"""What `pt validate` costs beyond the libraries it stands on.

Whole processes, interleaved: `pt validate recipes/sft_dpo.json` against a process that imports the same
libraries and ends, and against a typer program that takes the same arguments and does nothing (typer loads
pydantic for any command with an argument). Prints the medians of the ratios of neighbours.

    python benchmarks/validate.py [--runs 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPE = "recipes/sft_dpo.json"
LIBRARIES = "import typer, pydantic, jsonschema, referencing.jsonschema, rich.console; pydantic.TypeAdapter\n"
NOTHING = "from pathlib import Path\ndef main(recipes: list[Path]) -> None: pass\ntyper.run(main)\n"

PROGRAMS = {
    f"pt validate {RECIPE}": "from ptspec.cli import main\nmain()",
    "the same libraries, imported": LIBRARIES,
    "a typer program that does nothing": LIBRARIES + NOTHING,
}


def seconds(program: str) -> float:
    arguments = ["validate", RECIPE] if "ptspec" in program else [RECIPE]
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    for program in PROGRAMS.values():
        seconds(program)
    rows = [[seconds(program) for program in PROGRAMS.values()] for _ in range(runs)]
    for index, name in enumerate(PROGRAMS):
        milliseconds = statistics.median(row[index] for row in rows) * 1e3
        ratio = statistics.median(row[0] / row[index] for row in rows)
        print(f"{name:36} {milliseconds:6.0f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
