"""How far the memory that `pt plan` tells is from what a run takes, on a CPU.

A process holds its libraries too (some 700 MB), so each setup is run twice, over the shipped model and over a
larger one of random weights, and the difference of the two peaks (largest resident set) is set beside the
difference of the two plans.

    python benchmarks/memory.py [--hidden 512] [--layers 8] [--batch 16]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASE = ROOT / "data" / "base_model"
LORA = {"use_lora": True, "r": 16, "target_modules": "all-linear"}
SETUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "sft, LoRA": ("sft", LORA),
    "sft, full": ("sft", {"use_lora": False}),
    "dpo, LoRA": ("dpo", LORA),
    "dpo, full": ("dpo", {"use_lora": False}),
}

MAKE = """
import sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
config = AutoConfig.from_pretrained(sys.argv[1])
config.hidden_size, config.num_hidden_layers = int(sys.argv[3]), int(sys.argv[4])
config.intermediate_size, config.num_attention_heads = config.hidden_size * 8 // 3, config.hidden_size // 64
config.num_key_value_heads, config.head_dim = config.num_attention_heads, 64
torch.manual_seed(0)
AutoModelForCausalLM.from_config(config).save_pretrained(sys.argv[2])
"""


def larger(folder: Path, hidden: int, layers: int) -> Path:
    """A model of random weights with the tokenizer of the shipped one."""
    target = folder / "model"
    subprocess.run([sys.executable, "-c", MAKE, BASE, target, str(hidden), str(layers)], check=True)
    for file in BASE.iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, target)
    return target


def pt(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "ptspec.cli", *map(str, arguments)]
    # Freed blocks go back to the system at once: else glibc keeps some, and they count as resident.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def measure(folder: Path, name: str, model: Path, batch: int) -> tuple[int, int]:
    """Planned bytes and peak resident bytes of a stage of two steps."""
    method, adapter = SETUPS[name]
    config = {"max_steps": 2, "per_device_train_batch_size": batch, "save_strategy": "no"}
    recipe = {
        "model": {"path": str(model)},
        "adapter": adapter,
        "data": {"train": {"path": str(ROOT / "data" / "train.jsonl")}},
        "stages": [{"name": "stage", "method": method, "data": "train", "config": config}],
    }
    file, output = folder / "recipe.json", folder / "out"
    file.write_text(json.dumps(recipe))
    shutil.rmtree(output, ignore_errors=True)
    planned = json.loads(pt("plan", file, "--output", output, "--format", "json"))["stages"][0]
    pt("run", file, "--output", output)
    record = json.loads((output / "stage" / "stage.json").read_text())
    return planned["memory_bytes"]["total"], record["peak_memory_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--setup", choices=SETUPS, action="append", help="Else all of them.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = larger(folder, options.hidden, options.layers)
        print(f"{'':12} {'planned':>10} {'measured':>10}   (MB more than over the shipped model)")
        for setup in options.setup or SETUPS:
            small, big = (measure(folder, setup, one, options.batch) for one in (BASE, model))
            planned, measured = ((big[k] - small[k]) / 1e6 for k in (0, 1))
            print(f"{setup:12} {planned:10.0f} {measured:10.0f}   {measured / planned - 1:+.0%}", flush=True)


if __name__ == "__main__":
    main()
