"""What checking a big file costs: `pt validate` of JSONL against `datasets.load_dataset("json")` of it.

Whole processes, one after the other, in turn: seconds, processor seconds and peak memory (the largest
resident set of a process). `pt validate` is timed with its start; of `datasets` the call alone, with all
its defaults and a fresh cache. Rows are pairs of some 2,500 bytes, chats, or pairs of 300. With --list
`pt validate` is timed against itself on the same rows as one JSON list.

    python benchmarks/validate_data.py [--gigabytes 1] [--kind pairs] [--runs 2] [--list] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KINDS = {"pairs": "dpo", "chats": "sft", "short": "dpo"}

OURS = "import sys\nfrom ptspec.cli import main\nmain(['validate', sys.argv[1]])"
THEIRS = """
import json, sys, time
import datasets
begin, used = time.perf_counter(), time.process_time()
rows = datasets.load_dataset("json", data_files="rows.jsonl", split="train", cache_dir=sys.argv[1])
print(time.perf_counter() - begin, time.process_time() - used, rows.num_rows)
"""


def sentences(seed: int) -> list[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 10))) for _ in range(4000)]
    words += ["".join(rng.choices("aeouäéøñ漢字", k=rng.randint(2, 6))) for _ in range(80)]
    return [
        " ".join(rng.choices(words, k=rng.randint(8, 24))).capitalize() + rng.choice([". ", ".\n"])
        for _ in range(5000)
    ]


def rows(kind: str, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows without end, no two alike."""
    rng, pool = random.Random(seed), sentences(seed)

    def text(most: int) -> str:
        return "".join(rng.choices(pool, k=rng.randint(1, most)))

    number = 0
    while True:
        number += 1
        if kind == "chats":
            turns = [("user", 3), ("assistant", 12), ("user", 3), ("assistant", 12)]
            yield {"messages": [{"role": role, "content": f"{number} {text(most)}"} for role, most in turns]}
        else:
            most = 1 if kind == "short" else 18
            prompt = f"{number} {text(most // 3 + 1 if most > 1 else 1)}"
            yield {"prompt": prompt, "chosen": text(most), "rejected": f"{number} {text(most)}"}


def make(folder: Path, kind: str, size: float) -> int:
    """Writes rows.jsonl of `size` bytes and recipe.json for it; returns the number of rows."""
    written = count = 0
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in rows(kind):
            written += file.write(json.dumps(row) + "\n")
            count += 1
            if written >= size:
                break
    write_recipe(folder / "recipe.json", kind, "rows.jsonl")
    return count


def write_recipe(file: Path, kind: str, rows: str) -> None:
    recipe = {
        "model": {"path": str(ROOT / "data" / "base_model")},
        "data": {"train": {"path": rows}},
        "stages": [{"name": "stage", "method": KINDS[kind], "data": "train"}],
    }
    file.write_text(json.dumps(recipe))


def make_list(folder: Path, kind: str) -> None:
    """Writes the rows of rows.jsonl as one list, rows.json, and list.json, a recipe for it."""
    with (folder / "rows.jsonl").open(encoding="utf-8") as lines, (folder / "rows.json").open("w") as file:
        for number, line in enumerate(lines):
            file.write(f"{',' if number else '['}\n  {line.rstrip()}")
        file.write("\n]\n")
    write_recipe(folder / "list.json", kind, "rows.json")


def measured(program: str, folder: Path, *arguments: str) -> tuple[float, float, float, str]:
    """Seconds, processor seconds, peak resident MiB and stdout of a process."""
    begin = time.perf_counter()
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], cwd=folder, stdout=out, stderr=err
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit((folder / "err.txt").read_text())
    scale = 2**20 if sys.platform == "darwin" else 2**10
    processor = usage.ru_utime + usage.ru_stime
    return seconds, processor, usage.ru_maxrss / scale, (folder / "out.txt").read_text()


def compare(folder: Path, runs: int, size: float) -> None:
    ratios, memory = [], []
    for number in range(runs):
        seconds, processor, mebibytes, _ = measured(OURS, folder, "recipe.json")
        _, _, theirs, said = measured(THEIRS, folder, str(folder / f"cache{number}"))
        memory.append(mebibytes)
        passed, used = map(float, said.split()[:2])
        ratios.append((passed / seconds, used / processor))
        for name, a, b, c in (
            ("pt validate", seconds, processor, mebibytes),
            ("datasets", passed, used, theirs),
        ):
            print(
                f"{name:12} {a:5.1f} s {size / 1e6 / a:6.0f} MB/s {b:6.1f} processor s {c:6.0f} MiB",
                flush=True,
            )
    speed, work = (statistics.median(ratio[k] for ratio in ratios) for k in (0, 1))
    print(
        f"speed of pt validate over that of datasets {speed:.2f} (processor seconds {work:.2f}); at least 0.5"
    )
    print(f"peak memory of pt validate {max(memory):.0f} MiB; less than 300 MB")


def compare_with_list(folder: Path, runs: int) -> None:
    ratios = []
    for _ in range(runs):
        lines, _, _, _ = measured(OURS, folder, "recipe.json")
        listed, _, mebibytes, _ = measured(OURS, folder, "list.json")
        ratios.append(listed / lines)
        print(f"JSONL {lines:5.2f} s, JSON list {listed:5.2f} s with {mebibytes:.0f} MiB", flush=True)
    print(f"the list takes {statistics.median(ratios):.2f} times as long; at most 1.5")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--kind", choices=KINDS, default="pairs")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="Compare JSONL with the same rows as one list.")
    parser.add_argument("--folder", type=Path, help="Where the files go for the while; else a temporary one.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        count = make(folder, options.kind, options.gigabytes * 1e9)
        size = (folder / "rows.jsonl").stat().st_size
        print(f"{options.kind}: {size / 1e9:.2f} GB, {count:,} rows")
        if options.list:
            make_list(folder, options.kind)
            compare_with_list(folder, options.runs)
        else:
            compare(folder, options.runs, size)


if __name__ == "__main__":
    main()
