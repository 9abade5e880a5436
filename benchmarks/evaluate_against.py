"""An evaluation by this tree against one by another: processor seconds, and whether the figures are alike.

    git worktree add build/before 7e6875b
    python benchmarks/evaluate_against.py build/before --adapter build/real_model/run/sft

`measure()` over rows of build/real_model/heldout.jsonl with the model there (benchmarks/real_model.py), or an
adapter over it: loss, preference, greedy and drawn responses, and with `--base` KL. Each in a process of its
own, one thread, in turns; a ratio of processor seconds a round. Wanted: at least 2.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build/real_model"

WORKER = """
import json, sys, time
import torch
torch.set_num_threads(1)
from transformers import AutoModelForCausalLM, AutoTokenizer
from ptspec.evaluation.measure import measure
from ptspec.recipe.plan import EvaluationSpec
try:
    from ptspec.data.formats import evaluation_row
except ImportError:
    from ptspec.data.layouts.evaluation import evaluation_row
asked = json.loads(sys.argv[1])
rows = [json.loads(line) for line in open(asked["rows"])][: asked["limit"]]
system = {"role": "system", "content": "Solve the problem."}
for row in rows:
    row["prompt"] = [system, {"role": "user", "content": row["prompt"]}]
    for name in ("completion", "chosen", "rejected"):
        row[name] = [{"role": "assistant", "content": row[name]}]
tokenizer = AutoTokenizer.from_pretrained(asked["model"])
model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=torch.float32).eval()
further = {}
if asked["base"]:
    base = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=torch.float32).eval()
    further = {"base": base, "base_name": "base"}
if asked["adapter"]:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, asked["adapter"]).eval()
spec = EvaluationSpec("heldout", max_new_tokens=asked["new_tokens"], sampled=asked["limit"])
begun, wall = time.process_time(), time.perf_counter()
found = measure(model, tokenizer, [evaluation_row(row) for row in rows], spec, seed=1, **further)
taken = {"processor": time.process_time() - begun, "wall": time.perf_counter() - wall}
said = [[row.response, row.sample] for row in found.rows]
nll = [row.nll for row in found.rows]
tokens = [row.response_tokens for row in found.rows]
print(json.dumps({**taken, "said": said, "nll": nll, "tokens": tokens}))
"""


def measured(tree: Path, asked: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(asked)],
        cwd=tree,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="another working tree of this repository")
    parser.add_argument("--model", type=Path, default=WORK / "model")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--rows", type=Path, default=WORK / "heldout.jsonl")
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--new-tokens", type=int, default=56)
    parser.add_argument("--base", action="store_true", help="KL to the model without the adapter")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    asked = {
        "model": str(given.model.absolute()),
        "adapter": str(given.adapter.absolute()) if given.adapter else None,
        "rows": str(given.rows.absolute()),
        "limit": given.limit,
        "new_tokens": given.new_tokens,
        "base": given.base,
    }
    rounds = [(measured(ROOT, asked), measured(given.before.absolute(), asked)) for _ in range(given.rounds)]
    for now, before in rounds:
        print(f"now {now['processor']:.1f} s, before {before['processor']:.1f} s")
    ratios = [before["processor"] / now["processor"] for now, before in rounds]
    wall = statistics.median(before["wall"] / now["wall"] for now, before in rounds)
    now, before = rounds[-1]
    same = sum(a == b for a, b in zip(now["said"], before["said"], strict=True))
    apart = max(abs(a - b) for a, b in zip(now["nll"], before["nll"], strict=True))
    fast = f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{given.limit} rows, responses of {statistics.mean(now['tokens']):.0f} tokens on average")
    print(f"{fast}, {wall:.2f} times in wall time (wanted: ≥ 2)")
    print(f"{same} rows have the same responses; likelihoods differ by {apart:.1g} nats at most")


if __name__ == "__main__":
    main()
