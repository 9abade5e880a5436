"""How the interpreter's own work grows: with stages, rows, the model's size and logged steps.

    python benchmarks/growth.py --run outputs/sft_dpo            # a run of recipes/sft_dpo.json; some minutes
    python benchmarks/growth.py --run outputs/sft_dpo --most     # up to 10⁷ rows and a model of 10⁹ weights
    python benchmarks/growth.py --run outputs/sft_dpo --only validate-rows plan-stages

Whole processes of `pt`: processor seconds and the largest resident set. What a series costs at its smallest
size is what starting takes; the exponent is that of the growth above it between the last two sizes (1:
linear). Prints a table, and draws it with --picture FILE. Ends with 1 where an exponent is above 1.15.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from synthetic_run import many_rows, many_stages, many_steps
from whole_process import ROOT, Cost, cost

BOUND = 1.15
SHORTEST = 0.05
"""Seconds of growth below which no exponent is told: clocks are that inexact."""


@dataclass(frozen=True)
class Series:
    """`command` of a size: the words after `pt`, once its files are made in the folder that it is given."""

    name: str
    unit: str
    sizes: Sequence[int]
    more: Sequence[int]
    command: Callable[[Path, int], list[str]]


def recipe(folder: Path, **change: Any) -> Path:
    file = folder / "recipe.json"
    plain = {
        "model": str(ROOT / "data/base_model"),
        "adapter": {"use_lora": True},
        "data": {"train": {"path": str(ROOT / "data/train.jsonl")}},
        "stages": [{"name": "sft", "method": "sft", "data": "train"}],
    }
    file.write_text(json.dumps({**plain, **change}))
    return file


def stages(command: str, folder: Path, size: int) -> list[str]:
    told = [{"name": f"s{at}", "method": "dpo" if at else "sft", "data": "train"} for at in range(size)]
    return [command, str(recipe(folder, stages=told))]


def rows(command: str, folder: Path, size: int) -> list[str]:
    lines = (ROOT / "data/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for at in range(size):
            file.write(lines[at % len(lines)])
    return [command, str(recipe(folder, data={"train": {"path": str(folder / "rows.jsonl")}}))]


def weights(command: str, folder: Path, size: int) -> list[str]:
    """A Llama of `size` weights, random, in bf16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = folder / "model"
    shutil.copytree(ROOT / "data/base_model", model)
    known = json.loads((model / "config.json").read_text())
    layers = max(2, round(size ** (1 / 3) / 40))
    width = max(64, 64 * round(math.sqrt(size / (12 * layers)) / 64))
    config = LlamaConfig(
        **{
            **known,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": width // 64,
            "num_key_value_heads": width // 64,
            "head_dim": 64,
            "dtype": "bfloat16",
        }
    )
    made = LlamaForCausalLM(config).to(torch.bfloat16)
    made.save_pretrained(model)
    return [command, str(recipe(folder, model=str(model)))]


def reports(make: Callable[[Path, Path, int], Path], run: Path, folder: Path, size: int) -> list[str]:
    return ["report", str(make(run, folder / "run", size))]


def all_series(run: Path) -> list[Series]:
    of_stages, of_rows = (1, 3, 10, 30, 100), (1_000, 10_000, 100_000)
    of_models = (1_000_000, 10_000_000, 100_000_000)
    return [
        Series("validate-stages", "stages", of_stages, (), partial(stages, "validate")),
        Series("plan-stages", "stages", of_stages, (), partial(stages, "plan")),
        Series("validate-rows", "rows", of_rows, (1_000_000, 10_000_000), partial(rows, "validate")),
        Series("plan-rows", "rows", of_rows, (1_000_000, 10_000_000), partial(rows, "plan")),
        Series("plan-model", "weights", of_models, (1_000_000_000,), partial(weights, "plan")),
        Series("report-stages", "stages", (2, 5, 20, 100), (), partial(reports, many_stages, run)),
        Series("report-steps", "steps", of_rows, (1_000_000,), partial(reports, many_steps, run)),
        Series("report-rows", "held-out rows", (1_000, 10_000), (100_000,), partial(reports, many_rows, run)),
    ]


def exponent(sizes: Sequence[int], costs: Sequence[Cost]) -> float | None:
    """Of the growth above the smallest size, between the last two; None where it is not to be told."""
    first, (before, last) = costs[0].processor, costs[-2:]
    low, high = before.processor - first, last.processor - first
    if len(costs) < 3 or low < SHORTEST or high < SHORTEST:
        return None
    return math.log(high / low) / math.log(sizes[-1] / sizes[-2])


def draw(found: dict[str, tuple[Sequence[int], list[Cost]]], file: Path) -> None:
    from matplotlib.figure import Figure

    columns = 4
    tall = math.ceil(len(found) / columns)
    figure = Figure(figsize=(3 * columns, 2.4 * tall), layout="constrained")
    for place, (name, (sizes, costs)) in enumerate(found.items(), 1):
        axes = figure.add_subplot(tall, columns, place)
        axes.loglog(sizes, [one.processor for one in costs], "o-", color="#0072b2", markersize=4)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylabel("processor s", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color="#ececec")
    figure.savefig(file, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--most", action="store_true", help="The largest sizes, too: 20 GB and half an hour.")
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    found: dict[str, tuple[Sequence[int], list[Cost]]] = {}
    steep = []
    for series in all_series(given.run.resolve()):
        if given.only and series.name not in given.only:
            continue
        sizes = (*series.sizes, *(series.more if given.most else ()))
        costs = []
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                command = series.command(Path(folder), size)
                costs.append(cost([sys.executable, "-m", "ptspec.cli", *command]))
        found[series.name] = sizes, costs
        power = exponent(sizes, costs)
        told = ", ".join(
            f"{size:,}: {one.processor:.2f} s, {one.memory / 1e6:,.0f} MB"
            for size, one in zip(sizes, costs, strict=True)
        )
        print(
            f"{series.name} ({series.unit}) | {told} | {'–' if power is None else f'{power:.2f}'}", flush=True
        )
        if power is not None and power > BOUND:
            steep.append(series.name)
    if given.picture:
        draw(found, given.picture)
    print(f"steeper than linear: {', '.join(steep) or 'none'}")
    return int(bool(steep))


if __name__ == "__main__":
    sys.exit(main())
