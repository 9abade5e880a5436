"""What `pt validate` costs beyond the libraries it stands on.

Whole processes, interleaved: `pt validate recipes/sft_dpo.json` against a process that imports the same
libraries and ends: typer with the pydantic that it loads for any command with an argument, jsonschema with
referencing, rich. Prints the median of the ratios of neighbours.

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

OURS = [sys.executable, "-c", f"from ptspec.cli import main; main(['validate', '{RECIPE}'])"]
FLOOR = [
    sys.executable,
    "-c",
    "import typer, pydantic, jsonschema, referencing.jsonschema, rich.console; pydantic.TypeAdapter",
]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    for command in (OURS, FLOOR):
        seconds(command)
    pairs = [(seconds(OURS), seconds(FLOOR)) for _ in range(runs)]
    ours, floor = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    print(f"pt validate {RECIPE}   {ours:6.0f} ms")
    print(f"the same libraries, imported       {floor:6.0f} ms")
    print(f"ratio, median of {runs} pairs          {statistics.median(a / b for a, b in pairs):6.2f}")


if __name__ == "__main__":
    main()
