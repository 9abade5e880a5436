"""What a run costs that takes one step: `pt run` against a TRL script, whole processes in turn.

    python benchmarks/start.py [--rounds 7]

One step of SFT over LoRA on data/base_model, as benchmarks/peers/chain.py has it. Prints the medians of
seconds, of processor seconds and of peak memory, and of the ratios of neighbours. `pt run` is timed twice: as
a first run, and once more when everything is finished.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from peers import chain, with_ptspec
from whole_process import Cost, cost

SCRIPT = """
import sys
from pathlib import Path
from peers import chain, with_trl
chain.STEPS = 1
with_trl.sft(Path(sys.argv[1]))
"""


PEERS = {"PYTHONPATH": str(chain.ROOT / "benchmarks")}


def recipe(folder: Path) -> Path:
    chain.STEPS = 1
    written = with_ptspec.recipe()
    written["stages"] = written["stages"][:1]
    file = folder / "start.json"
    file.write_text(json.dumps(written), encoding="utf-8")
    return file


def middle(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, list[Cost]] = {"TRL script": [], "pt run": [], "pt run, finished": []}
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing)
        run = [
            sys.executable,
            "-m",
            "ptspec.cli",
            "run",
            str(recipe(folder)),
            "--output",
            str(folder / "run"),
        ]
        for _ in range(rounds):
            shutil.rmtree(folder / "run", ignore_errors=True)
            shutil.rmtree(folder / "trl", ignore_errors=True)
            found["TRL script"].append(cost([sys.executable, "-c", SCRIPT, str(folder / "trl")], PEERS))
            found["pt run"].append(cost(run))
            found["pt run, finished"].append(cost(run))
    theirs = found["TRL script"]
    for name, costs in found.items():
        print(f"{name}: {middle([one.wall for one in costs])} s", end=", ")
        print(f"processor {middle([one.processor for one in costs])} s", end=", ")
        print(f"{statistics.median(one.memory for one in costs) / 1e6:,.0f} MB", end="; ")
        walls = [ours.wall / other.wall for ours, other in zip(costs, theirs, strict=True)]
        used = [ours.processor / other.processor for ours, other in zip(costs, theirs, strict=True)]
        print(f"of the script's: {middle(walls)}, processor {middle(used)}")


if __name__ == "__main__":
    main()
