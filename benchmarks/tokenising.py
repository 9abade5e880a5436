"""From how many rows on several processes tokenise faster than one: TRL's preparation of SFT's rows.

    python benchmarks/tokenising.py --rows 2000 10000 40000 --processes 1 2

Wall and processor seconds (children's too) of making the trainer's data set, interleaved; that the rows are
the same is checked. `ROWS_A_PROCESS` in `ptspec/performance/free/tokenising.py` comes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASE = ROOT / "data" / "base_model"


def rows_of(count: int) -> list[dict[str, Any]]:
    shipped = [json.loads(line) for line in (ROOT / "data/train.jsonl").read_text().splitlines()]
    pairs = [(row["prompt"], row["chosen"]) for row in shipped if "chosen" in row]
    chosen = (pairs[number % len(pairs)] for number in range(count))
    return [
        {
            "prompt": [{"role": "user", "content": f"{prompt} {number}"}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for number, (prompt, answer) in enumerate(chosen)
    ]


def prepared(model: Any, rows: Any, processes: int) -> tuple[float, float, Any]:
    """Wall seconds, processor seconds, and the data set that the trainer made."""
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir="build/tokenising",
        report_to="none",
        bf16=False,
        use_cpu=True,
        dataset_num_proc=processes if processes > 1 else None,
    )
    begun, used = time.perf_counter(), _processor()
    trainer = SFTTrainer(model, args=arguments, train_dataset=rows)
    return time.perf_counter() - begun, _processor() - used, trainer.train_dataset


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[2000, 10000, 40000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM

    disable_progress_bars()
    model = AutoModelForCausalLM.from_pretrained(BASE)
    for count in arguments.rows:
        rows = Dataset.from_list(rows_of(count))
        first = None
        for processes in arguments.processes:
            wall, processor, found = prepared(model, rows, processes)
            kept = found["input_ids"][:]
            assert first is None or first == kept, "other rows"
            first = kept
            words = f"{wall:.1f} s wall, {processor:.1f} s processor"
            print(f"{count:,} rows, {processes} processes: {words}", flush=True)


if __name__ == "__main__":
    main()
