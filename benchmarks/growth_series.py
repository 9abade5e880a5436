"""What benchmarks/growth.py lets grow: recipes, rows, models and runs of a size, and commands for them."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from synthetic_run import many_rows, many_stages, many_steps
from whole_process import ROOT

PT = [sys.executable, "-m", "ptspec.cli"]
FEW, MANY = (1_000, 10_000, 100_000), (1_000_000, 10_000_000)


@dataclass(frozen=True)
class Series:
    """`command` of a size: the words after `pt`, once its files are made in the folder that it is given.

    `more`: sizes that take long, or gigabytes.
    """

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
    """SFT, and DPO after DPO."""
    told = [{"name": f"s{at}", "method": "dpo" if at else "sft", "data": "train"} for at in range(size)]
    return [command, str(recipe(folder, stages=told))]


def sources(command: str, folder: Path, size: int) -> list[str]:
    """As `stages`, each with rows of its own in a file of its own, so that none are shared."""
    lines = (ROOT / "data/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    data, told = {}, []
    for at in range(size):
        (folder / f"rows{at}.jsonl").write_text("".join(lines[:200]), encoding="utf-8")
        data[f"rows{at}"] = {"path": str(folder / f"rows{at}.jsonl")}
        told.append({"name": f"s{at}", "method": "dpo" if at else "sft", "data": f"rows{at}"})
    return [command, str(recipe(folder, data=data, stages=told))]


def rows(command: str, folder: Path, size: int, **change: Any) -> list[str]:
    """No two rows are alike."""
    start = '{"instruction": "'
    lines = (ROOT / "data/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert all(line.startswith(start) and '"prompt": "' in line for line in lines)
    lines = [line.replace('"prompt": "', '"prompt": "# ').replace(start, f"{start}# ") for line in lines]
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for at in range(size):
            file.write(lines[at % len(lines)].replace("# ", f"{at} ", 2))
    return [command, str(recipe(folder, data={"train": {"path": str(folder / "rows.jsonl")}}, **change))]


def first_step(folder: Path, size: int) -> list[str]:
    """A run that trains one step and measures nothing: what stands before it."""
    stage = {"name": "sft", "method": "sft", "data": "train", "config": {"max_steps": 1}}
    return [*rows("run", folder, size, stages=[stage]), "--fresh", "--output", str(folder / "run")]


def finished(folder: Path, size: int) -> list[str]:
    """A run again, of which every stage is finished. One step each was trained before, untimed."""
    told = [
        {"name": f"s{at}", "method": "sft", "data": "train", "config": {"max_steps": 1}} for at in range(size)
    ]
    command = ["run", str(recipe(folder, stages=told)), "--output", str(folder / "run")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([*PT, *command], check=True, capture_output=True, env=environment, cwd=ROOT)
    return command


def weights(command: str, folder: Path, size: int) -> list[str]:
    """A Llama of `size` weights, random, in bf16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = folder / "model"
    shutil.copytree(ROOT / "data/base_model", model)
    known = json.loads((model / "config.json").read_text())
    layers = max(2, round(size ** (1 / 3) / 40))
    width = max(64, 64 * round(math.sqrt(size / (16 * layers)) / 64))
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
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        LlamaForCausalLM(config).save_pretrained(model)
    finally:
        torch.set_default_dtype(before)
    return [command, str(recipe(folder, model=str(model)))]


def reports(make: Callable[[Path, Path, int], Path], run: Path, folder: Path, size: int) -> list[str]:
    return ["report", str(make(run, folder / "run", size))]


def all_series(run: Path) -> list[Series]:
    """`run`: one of recipes/sft_dpo.json, from which the reports' are made."""
    of_stages, of_models = (1, 10, 30, 100), (1_000_000, 10_000_000, 100_000_000)
    return [
        Series("validate-stages", "stages", of_stages, (300, 1000), partial(stages, "validate")),
        Series(
            "validate-sources", "stages with rows of their own", of_stages, (), partial(sources, "validate")
        ),
        Series("validate-rows", "rows", FEW, MANY, partial(rows, "validate")),
        Series("plan-stages", "stages", of_stages, (300, 1000), partial(stages, "plan")),
        Series("plan-sources", "stages with rows of their own", of_stages, (), partial(sources, "plan")),
        Series("plan-rows", "rows", FEW, MANY, partial(rows, "plan")),
        Series("plan-model", "weights", of_models, (1_000_000_000,), partial(weights, "plan")),
        Series("first-step-rows", "rows", FEW, (), first_step),
        Series("finished-stages", "stages", (1, 3, 10), (30,), finished),
        Series("report-stages", "stages", (2, 5, 20, 100), (), partial(reports, many_stages, run)),
        Series("report-steps", "steps", FEW, (1_000_000,), partial(reports, many_steps, run)),
        Series("report-rows", "held-out rows", (1_000, 10_000), (100_000,), partial(reports, many_rows, run)),
    ]
