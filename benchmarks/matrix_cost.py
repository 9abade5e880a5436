"""What a matrix of six variants over one stage costs, and whether one that is killed comes to the same bytes.

    python benchmarks/matrix_cost.py [--rounds 1] [--kills 3] [--share .25]

The recipe with its matrix against the same stages written out by hand, each from the first: processor
seconds of whole processes in turn. Wanted: at most 1.15 of that. Told too is what of the matrix's own time is
training and measuring of its stages, as their records have it.

Then the matrix is run once more and killed after random seconds, gone on with, killed again, …: the weights
and the measured rows of every stage are to be those of the run that nothing disturbed.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from whole_process import ROOT, cost

from ptspec.recipe.matrix import expanded_stages

WANTED = 1.15


def written(recipe: dict[str, Any], folder: Path, stages: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.json"
    file.write_text(json.dumps({**recipe, "stages": stages}))
    return file


def command(file: Path) -> list[str]:
    return [sys.executable, "-m", "ptspec.cli", "run", str(file), "--output", str(file.parent / "out")]


def made_smaller(recipe: dict[str, Any], share: float) -> dict[str, Any]:
    """The recipe with this share of its steps and of its measured rows."""
    if share == 1:
        return recipe
    for stage in recipe["stages"]:
        stage["config"]["max_steps"] = max(2, round(stage["config"]["max_steps"] * share))
    rows = sum(1 for _ in (ROOT / recipe["data"]["heldout"]["path"]).open())
    recipe["data"]["heldout"]["limit"] = max(8, round(rows * share))
    for stage in recipe["stages"]:  # what so few steps come to is not what is asked here
        stage.pop("checks", None)
        stage.get("pick", {}).pop("keep", None)
    return recipe


def by_hand(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The same stages without a matrix, each under a name of its own."""
    stages = [copy.deepcopy(one) for one in expanded_stages(recipe["stages"]) if "pick" not in one]
    for stage in stages[1:]:
        stage |= {"from": stages[0]["name"], "name": stage["name"].replace(".", "_")}
    return stages


def in_stages(output: Path) -> float:
    """Seconds that the stages took to train and to be measured."""
    total = 0.0
    for file in (*output.glob("*/stage.json"), *output.glob("*/evaluation_stats.json")):
        told = json.loads(file.read_text())
        is_second_name = "picked" in told or "picked" in json.loads(
            (file.parent / "stage.json").read_text() if (file.parent / "stage.json").exists() else "{}"
        )
        total += 0.0 if is_second_name else told["seconds"]
    return total


def results(output: Path) -> dict[str, str]:
    """The hash of the weights and of the measured rows of every stage."""
    files = sorted([*output.glob("*/*.safetensors"), *output.glob("*/evaluation_rows.jsonl")])
    return {str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def killed(file: Path, kills: int, longest: float, seed: int) -> int:
    """Runs `file`, killed `kills` times. Returns how many times it was under way when it was killed."""
    draws, met = random.Random(seed), 0
    for _ in range(kills):
        process = subprocess.Popen(
            command(file),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(draws.uniform(longest / 4, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            met += 1
    cost(command(file))
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps and of the measured rows")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes/sft_dpo_matrix.json")
    given = parser.parse_args()
    recipe = made_smaller(json.loads(given.recipe.read_text()), given.share)
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            whole = written(recipe, folder / "whole", recipe["stages"])
            matrix = cost(command(whole))
            print(f"matrix                {matrix.processor:7.1f} s  (wall {matrix.wall:.0f} s)", flush=True)
            inside = in_stages(whole.parent / "out")
            print(f"  of which in stages  {inside:7.1f} s  (wall): {matrix.wall / inside:.3f}", flush=True)
            hand = written(recipe, folder / "hand", by_hand(recipe))
            stages = cost(command(hand))
            print(f"the same by hand      {stages.processor:7.1f} s  (wall {stages.wall:.0f} s)")
            ratio = matrix.processor / stages.processor
            print(f"matrix / by hand      {ratio:7.3f}, wanted at most {WANTED}", flush=True)
            if given.kills and number == 0:
                broken = written(recipe, folder / "broken", recipe["stages"])
                met = killed(broken, given.kills, matrix.wall / 2, seed=1)
                same = results(broken.parent / "out") == results(whole.parent / "out")
                files = len(results(whole.parent / "out"))
                print(f"killed {met} times: {files} files {'are the same' if same else 'DIFFER'}", flush=True)


if __name__ == "__main__":
    main()
