"""Several processes against one, method by method: the same rows a step, so the same weights in the end.

    python benchmarks/processes.py                         # every method, LoRA and full, 20 steps
    python benchmarks/processes.py --methods sft dpo --steps 5

One recipe whose stages all start from the base is run by one process and, under torchrun, by two, in float32
on the CPU. "cosine" is that of what training changed: B·A of each LoRA layer, or the weights less the base's.
Methods that sample get other completions (each process has its own random numbers), so their curves are
compared: the mean reward, or win rate, over all steps. Ends with 1 where a cosine is .9999 or less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "data/base_model"
BOUND = 0.9999
RATES = {"sft": 2e-3, "dpo": 5e-4, "kto": 5e-4, "orpo": 1e-3, "reward": 1e-3, "grpo": 1e-3, "nash_md": 1e-3}
SAMPLED = {"grpo": "reward", "nash_md": "win_rate/mixture"}
"""Methods that sample, and what is logged of how they fare."""
SETUPS = {"lora": {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}, "full": {}}
CUTS = {"lora": (4, 2), "full": (8, 1)}
"""Rows and passes of a step: two processes share the passes of the one, the rows of the other."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=list(RATES), choices=list(RATES))
    parser.add_argument("--setups", nargs="+", default=list(SETUPS), choices=list(SETUPS))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="Where the runs are left; else they are not.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        recipe = folder / "recipe.json"
        names = [(method, setup) for method in given.methods for setup in given.setups]
        recipe.write_text(json.dumps(_recipe(names, given.steps), indent=2))
        seconds = {count: _run(recipe, folder / str(count), count) for count in (1, 2)}
        print(
            "| method | set-up | cosine | losses differ by at most | sampled: one, two | seconds: one, two |"
        )
        print("|---|---|---|---|---|---|")
        worst = min(_row(folder, method, setup) for method, setup in names)
        print(f"\nwhole runs: {seconds[1]:.0f} s in one process, {seconds[2]:.0f} s in two")
    return int(worst <= BOUND)


def _recipe(names: Sequence[tuple[str, str]], steps: int) -> Mapping[str, Any]:
    return {
        "version": 1,
        "name": "processes",
        "model": {"path": str(BASE), "dtype": "float32"},
        "data": {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 256}},
        "rewards": {"style": {"function": "regex", "pattern": "[^.!?\\n]+\\."}},
        "judges": {"shorter": {"reward": "style"}},
        "stages": [_stage(method, setup, steps) for method, setup in names],
    }


def _stage(method: str, setup: str, steps: int) -> Mapping[str, Any]:
    rate = RATES[method] if setup == "lora" else RATES[method] / 10
    rows, passes = CUTS[setup]
    config: dict[str, Any] = {"learning_rate": rate, "max_steps": steps, "save_strategy": "no"}
    config |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": passes}
    stage: dict[str, Any] = {"name": f"{method}_{setup}", "method": method, "data": "train", "from": "base"}
    if method in SAMPLED:
        config |= {"num_generations": 4, "max_completion_length": 16}
        stage |= {"judge": "shorter"} if method == "nash_md" else {"rewards": ["style"]}
    return {**stage, "adapter": SETUPS[setup], "config": config}


def _run(recipe: Path, output: Path, processes: int) -> float:
    """Seconds of `pt run` by so many processes."""
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launch, "-m", "ptspec.cli", "run", str(recipe), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the run by {processes} failed:\n{done.stderr[-4000:]}")
    return time.monotonic() - begun


def _row(folder: Path, method: str, setup: str) -> float:
    """Prints what there is of one stage; returns its cosine, 1 for one that samples."""
    one, two = (folder / count / f"{method}_{setup}" for count in ("1", "2"))
    logs, records = [_log(each) for each in (one, two)], [_record(each) for each in (one, two)]
    cosine = 1.0 if method in SAMPLED else _cosine(_change(one), _change(two))
    apart = max(abs(a["loss"] - b["loss"]) for a, b in zip(*logs, strict=True))
    key = SAMPLED.get(method)
    means = [sum(step[key] for step in log) / len(log) for log in logs] if key else []
    print(
        f"| {method} | {setup} | {'–' if key else f'{cosine:.10f}'} | {'–' if key else f'{apart:.1e}'} | "
        f"{f'{key} {means[0]:.3f}, {means[1]:.3f}' if key else '–'} | "
        f"{records[0]['seconds']:.1f}, {records[1]['seconds']:.1f} |",
        flush=True,
    )
    return cosine


def _log(stage: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]


def _record(stage: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((stage / "stage.json").read_text())
    return record


def _change(stage: Path) -> dict[str, Tensor]:
    """What training changed, by name."""
    if (adapter := stage / "adapter_model.safetensors").exists():
        tensors = load_file(adapter)
        below = {name: name.replace("lora_A", "lora_B") for name in tensors if "lora_A" in name}
        return {name: tensors[b].double() @ tensors[name].double() for name, b in below.items()}
    base, trained = load_file(BASE / "model.safetensors"), load_file(stage / "model.safetensors")
    return {name: trained[name].double() - base[name].double() for name in trained.keys() & base.keys()}


def _cosine(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    one, two = (torch.cat([each[name].flatten() for name in sorted(ours)]) for each in (ours, theirs))
    return float(torch.nn.functional.cosine_similarity(one, two, dim=0))


if __name__ == "__main__":
    sys.exit(main())
