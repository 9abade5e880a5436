"""Runs a shipped recipe with several seeds and tells what it gains on rows that no setting was chosen on.

    python benchmarks/shipped_recipes.py sft_dpo [--seeds 1 2 3] [--data data/test.jsonl] [--keep DIR]

Prints a Markdown table: each metric of each policy as mean (lowest, highest) over the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHOWN = {
    "loss": ("loss of the outputs", 1, ".3f"),
    "accuracy": ("task accuracy %", 100, ".1f"),
    "style": ("one plain sentence %", 100, ".1f"),
    "preference_accuracy": ("preference accuracy %", 100, ".1f"),
    "pair_accuracy": ("pair accuracy %", 100, ".1f"),
    "response_length": ("tokens", 1, ".1f"),
}

Metrics = Mapping[str, float]


def run(recipe: str, seed: int, data: str, folder: Path) -> tuple[dict[str, Metrics], float]:
    """The metrics of each policy of one run, by name, and the seconds it took as a whole process."""
    output = folder / f"{recipe}-{seed}"
    command = [sys.executable, "-m", "ptspec.cli", "run", f"recipes/{recipe}.json", "--output", str(output)]
    overrides = ["--set", f"seed={seed}", "--set", f"data.heldout.path={data}"]
    begun = time.perf_counter()
    subprocess.run([*command, *overrides], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    stages = json.loads((output / "manifest.json").read_text())["stages"]
    return {name: metrics(output / name) for name in ("base", *stages)}, seconds


def metrics(folder: Path) -> Metrics:
    """The metrics of a policy; preference only where it is relative to a reference (the base has none)."""
    stats = json.loads((folder / "evaluation_stats.json").read_text())
    raw = stats["settings"]["preference_reference"] == "raw likelihood"
    left_out = {"preference_accuracy"} if raw else set()
    return {name: figure["value"] for name, figure in stats["metrics"].items() if name not in left_out}


def table(runs: Sequence[Mapping[str, Metrics]]) -> str:
    policies = list(runs[0])
    lines = [f"| | {' | '.join(policies)} |", f"|---|{'---:|' * len(policies)}"]
    for name, (label, factor, form) in SHOWN.items():
        cells = [_cell([one[policy].get(name) for one in runs], factor, form) for policy in policies]
        if any(cells):
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float | None], factor: float, form: str) -> str:
    known = [value * factor for value in values if value is not None]
    if not known:
        return ""
    low, high = format(min(known), form), format(max(known), form)
    mean = format(sum(known) / len(known), form)
    return mean if low == high else f"{mean} ({low}–{high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--data", default="data/test.jsonl")
    parser.add_argument("--keep", type=Path, help="Leave the runs in this folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = options.keep or Path(folder)
        results = [run(options.recipe, seed, options.data, runs) for seed in options.seeds]
    print(table([found for found, _ in results]))
    seconds = ", ".join(f"{taken:.0f}" for _, taken in results)
    print(f"\n{len(results)} seeds, {options.data}; whole process {seconds} s")


if __name__ == "__main__":
    main()
