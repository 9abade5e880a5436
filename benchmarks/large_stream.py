"""10 GB of rows, streamed by two processes: the memory of each, and how long it takes to the first step.

    python benchmarks/large_stream.py                        # 10 GB in 20 files of JSONL, deleted afterwards
    python benchmarks/large_stream.py --gigabytes 1 --folder DIR

`pt run` trains SFT on the shipped base for some steps, shuffled, with two processes that it starts itself.
Memory is the most that was resident (VmHWM), shared libraries included. Seconds are counted from the start of
the command to the first logged step. Where other programs use the machine that is an upper bound, so those of
the processor are told too: of the command, the launcher and the slower process, one after the other, since
each waits for the one before. Ends with 1 where a process takes more than 1 GB, or those more than 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = 20
WORDS = ["and", "above", "boat", "carry", "deep", "every", "found", "green", "house", "into", "kept", "light"]
MEMORY, SECONDS = 1e9, 30.0


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--gigabytes", type=float, default=10)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--folder", type=Path, help="Where there is room; what is written is deleted.")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="large_stream.", dir=given.folder))
    try:
        rows = _write(folder / "rows", given.gigabytes * 1e9)
        print(f"{rows:,} rows in {FILES} files", flush=True)
        return _measure(folder, given.steps)
    finally:
        shutil.rmtree(folder)


def _write(folder: Path, size: float) -> int:
    """Rows of some 800 bytes, none like another; how many."""
    folder.mkdir()
    chance, rows = random.Random(1), 0
    texts = [" ".join(chance.choices(WORDS, k=75)) for _ in range(2000)]
    for number in range(FILES):
        written = 0
        with (folder / f"{number:02}.jsonl").open("w", encoding="utf-8") as file:
            while written < size / FILES:
                lines = [
                    f'{{"prompt": "{row} {text}", "completion": "{text}"}}\n'
                    for row, text in enumerate(texts, start=rows)
                ]
                rows += len(lines)
                written += file.write("".join(lines))
    return rows


def _measure(folder: Path, steps: int) -> int:
    config = {"max_steps": steps, "per_device_train_batch_size": 8, "max_length": 256, "logging_steps": 1}
    recipe = {
        "version": 1,
        "name": "large_stream",
        "model": {"path": str(ROOT / "data/base_model")},
        "adapter": {"use_lora": True, "r": 8, "target_modules": "all-linear"},
        "compute": {"launcher": "accelerate", "processes": 2},
        "data": {"train": {"path": str(folder / "rows/*.jsonl"), "streaming": True, "shuffle": True}},
        "stages": [{"name": "sft", "method": "sft", "data": "train", "config": config}],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2))
    output, told = folder / "out", folder / "told.txt"
    command = [
        sys.executable,
        "-m",
        "ptspec.cli",
        "run",
        str(folder / "recipe.json"),
        "--output",
        str(output),
    ]
    begun, first = time.monotonic(), None
    peaks: dict[str, int] = {}
    used: dict[str, float] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with told.open("wb") as text:
        run = subprocess.Popen(command, stdout=text, stderr=text, cwd=ROOT, env=environment)
    metrics = output / ".sft.partial/metrics.jsonl"
    while run.poll() is None:
        for name, process in _processes(run.pid, output).items():
            peaks[name] = max(peaks.get(name, 0), _peak(process))
            if first is None:
                used[name] = _processor_seconds(process)
        if first is None and metrics.exists():
            first = time.monotonic() - begun
        time.sleep(0.05)
    if run.returncode or first is None:
        print(told.read_text()[-4000:])
        return 1
    workers = [name for name in used if name.startswith("process")]
    chain = used["command"] + used.get("launcher", 0) + max(used[name] for name in workers)
    for name in peaks:
        print(f"{name}: {peaks[name] / 1e6:,.0f} MB, {used[name]:.1f} s of a processor to the first step")
    print(f"first step after {first:.1f} s; of processors, one after the other, {chain:.1f} s")
    print(f"all {steps} steps: {time.monotonic() - begun:.1f} s")
    return int(max(peaks.values()) > MEMORY or chain > SECONDS)


def _processes(command: int, output: Path) -> Mapping[str, int]:
    found = {"command": command}
    for rank in (0, 1):
        try:
            found[f"process {rank}"] = int(
                (output / f".processes/{rank}.alive").read_text().partition(" ")[0]
            )
        except (OSError, ValueError):
            continue
    if "process 0" in found:
        found["launcher"] = int(_fields(found["process 0"])[1])
    return {name: process for name, process in found.items() if process > 1}


def _fields(process: int) -> list[str]:
    """Return the fields of /proc/…/stat after the name (state, parent, …)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50


def _processor_seconds(process: int) -> float:
    return sum(map(int, _fields(process)[11:13])) / os.sysconf("SC_CLK_TCK")


def _peak(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peaks[0]) * 1024 if peaks else 0


if __name__ == "__main__":
    sys.exit(main())
