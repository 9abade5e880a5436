"""What an evaluation costs: three adapters over one base, and held-out loss against lm-eval's HF backend.

1. Three adapters measured in one go (`measure_all`, as `pt eval A B C --data` does) against three separate
   evaluations, each in a process of its own, as three commands would be. Wanted: at most 0.6 of the time.
2. Three adapters measured in one process against three times load and measure in one process: without the
   start of Python and the imports. And the batches by length against batches in file order.
3. Tokens a second of held-out loss on the same model and texts, ours against lm-eval's
   `HFLM.loglikelihood`, at the best of several batch sizes. Wanted: at least 1.
   lm-eval lives in a virtual environment of its own:

    python3 -m venv build/peers/lm-eval
    build/peers/lm-eval/bin/pip install torch==2.13.0
    build/peers/lm-eval/bin/pip install lm_eval transformers accelerate

4. 160 prompts answered with at most 256 new tokens, ours against plain `generate` at the best of several
   batch sizes: where responses end by themselves, and where none ends. Wanted: at most 1 of its time.

2 to 4 count CPU seconds of one thread, so that a busy machine does not decide.

    python benchmarks/evaluate.py ADAPTER ADAPTER ADAPTER [--rounds 3] [--generation-only]

ADAPTER is a stage's folder, such as outputs/sft_dpo/sft.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data/test.jsonl"
PEER = ROOT / "build/peers/lm-eval/bin/python"
BATCH_SIZES = (8, 32, 64, 128)
PROMPTS, NEW_TOKENS = 160, 256
GENERATION_SIZES = (32, 80, 160)

SEPARATE = "from ptspec.cli import main; main(['eval', '{target}', '--data', '{data}'])"
TOGETHER = "from ptspec.cli import main; main(['eval', {targets}, '--data', '{data}'])"

PEER_PROGRAM = """
import json, sys, time
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
import torch
torch.set_num_threads(1)
model, pairs = sys.argv[1], json.load(open(sys.argv[2]))
sizes, rounds = json.loads(sys.argv[3]), int(sys.argv[4])
lm = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=sizes[0])
requests = [Instance("loglikelihood", {}, tuple(pair), i) for i, pair in enumerate(pairs)]
found = {}
for size in sizes:
    lm.batch_size_per_gpu = size
    lm.loglikelihood(requests[:8], disable_tqdm=True)
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        values = lm.loglikelihood(requests, disable_tqdm=True)
        taken.append(time.process_time() - begun)
    found[size] = min(taken)
print(json.dumps({"seconds": found, "sum": sum(value for value, _ in values)}))
"""


def process(program: str) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, env=environment
    )
    return time.perf_counter() - begun


def whole_commands(targets: list[str], rounds: int) -> None:
    """One command for all against one for each, interleaved."""
    ratios = []
    quoted = ", ".join(f"'{target}'" for target in targets)
    for _ in range(rounds):
        together = process(TOGETHER.format(targets=quoted, data=DATA))
        separate = sum(process(SEPARATE.format(target=target, data=DATA)) for target in targets)
        ratios.append(together / separate)
        print(f"  together {together:.2f} s, separately {separate:.2f} s")
    print(f"three adapters in one command: {statistics.median(ratios):.2f} of three commands (wanted: ≤ 0.6)")


def in_one_process(targets: list[str], rounds: int) -> None:
    """Imports apart: the base loaded once, and the batches."""
    from ptspec.evaluation import batching
    from ptspec.evaluation.request import held_out, measure_all
    from ptspec.evaluation.targets import targets as resolve
    from ptspec.model.model_cache import Bases

    found = resolve(targets)
    held = held_out(DATA, 48, None, found[0])
    loads: list[float] = []
    get = Bases.get

    def counting(self: Bases, *arguments: Any) -> Any:
        before = len(self._loaded)
        base = get(self, *arguments)
        loads.append(len(self._loaded) - before)
        return base

    def run(which: list[Any]) -> float:
        begun = time.process_time()
        measure_all(which, held, lambda event: None, False)
        return time.process_time() - begun

    Bases.get = counting  # type: ignore[assignment,method-assign]  # counted for the length of this run
    run(found)
    print(f"weights of the base loaded {sum(loads)} time(s) for {len(found)} adapters")
    Bases.get = get  # type: ignore[method-assign]  # as it was
    together, separate, unsorted = [], [], []
    by_length = batching.batches

    def in_file_order(lengths: Any, tokens: int, extra: int = 0, rank: Any = None) -> Any:
        size = max(1, tokens // (max(lengths, default=1) + extra))
        return (list(range(i, min(i + size, len(lengths)))) for i in range(0, len(lengths), size))

    for _ in range(rounds):
        together.append(run(found))
        separate.append(sum(run([one]) for one in found))
        batching.batches = in_file_order
        unsorted.append(run(found))
        batching.batches = by_length
    print(
        f"in one process: together {min(together):.2f} s, separately {min(separate):.2f} s; "
        f"batches in file order {min(unsorted):.2f} s"
    )


def loss_against_lm_eval(rounds: int) -> None:
    """The same contexts and continuations, as lm-eval takes them: plain strings."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ptspec.evaluation.encoding import encode_completions
    from ptspec.evaluation.likelihood import log_likelihoods

    torch.set_num_threads(1)
    path = str(ROOT / "data/base_model")
    rows = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    pairs = [(row["prompt"], " " + row[key]) for row in rows for key in ("output", "chosen", "rejected")]
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.eos_token = None  # lm-eval scores the continuation alone
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    encoded = [encode_completions(tokenizer, prompt, (text,))[0] for prompt, text in pairs]
    log_likelihoods(model, encoded[:8])
    ours = []
    for _ in range(rounds):
        begun = time.process_time()
        fresh = [encode_completions(tokenizer, prompt, (text,))[0] for prompt, text in pairs]
        values = log_likelihoods(model, fresh)
        ours.append(time.process_time() - begun)
    scored = sum(one.completion_tokens for one in encoded)
    print(f"ours: {scored / min(ours):,.0f} tokens/s of {scored:,} scored (sum {sum(values):.2f})")
    if not PEER.is_file():
        print(f"lm-eval is not at {PEER.relative_to(ROOT)}: see this file's head")
        return
    given = ROOT / "build/peers/pairs.json"
    given.write_text(json.dumps(pairs), "utf-8")
    arguments = [path, str(given), json.dumps(BATCH_SIZES), str(rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PEER, "-c", PEER_PROGRAM, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        print(done.stderr[-2000:])
        return
    peer = json.loads(done.stdout.splitlines()[-1])
    best = min(peer["seconds"], key=peer["seconds"].get)
    print(
        f"lm-eval HFLM: {scored / peer['seconds'][best]:,.0f} tokens/s at its best batch size, {best} "
        f"(sum {peer['sum']:.2f})"
    )
    print(f"ratio: {peer['seconds'][best] / min(ours):.2f} times lm-eval's tokens/s (wanted: ≥ 1)")


def generation_against_generate(rounds: int) -> None:
    """Ours and plain `generate` at each batch size in turn, so that a busy machine slows all of them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ptspec.evaluation.generation import respond

    torch.set_num_threads(1)
    path = str(ROOT / "data/base_model")
    rows = [json.loads(line) for line in (ROOT / "data/eval.jsonl").read_text("utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(path)
    prompts = [tokenizer(row["prompt"])["input_ids"] for row in rows[:PROMPTS]]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    for ends in (True, False):
        if not ends:
            model.generation_config.eos_token_id = tokenizer.eos_token = None
        taken: dict[int, list[float]] = {size: [] for size in (0, *GENERATION_SIZES)}
        for _ in range(rounds):
            for size, seconds in taken.items():
                begun = time.process_time()
                if size:
                    plainly(model, tokenizer, prompts, size)
                else:
                    said = respond(model, tokenizer, prompts, NEW_TOKENS)
                seconds.append(time.process_time() - begun)
        best = min(GENERATION_SIZES, key=lambda size: min(taken[size]))
        print(
            f"{PROMPTS} prompts, {sum(len(one.ids) for one in said):,} new tokens: "
            f"ours {min(taken[0]):.2f} s, generate at its best batch size, {best}, {min(taken[best]):.2f} s: "
            f"{min(taken[0]) / min(taken[best]):.2f} of its time (wanted: ≤ 1)"
        )


def plainly(model: Any, tokenizer: Any, prompts: list[list[int]], size: int) -> None:
    """`generate` over the prompts in their order, `size` at a time."""
    import torch

    from ptspec.evaluation.batching import pad
    from ptspec.evaluation.generation import end_tokens, generation_config

    config = generation_config(tokenizer, end_tokens(model, tokenizer), NEW_TOKENS)
    for begin in range(0, len(prompts), size):
        ids, mask = pad(prompts[begin : begin + size], config.pad_token_id, model.device, left=True)
        with torch.no_grad():
            new = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        tokenizer.batch_decode(new[:, ids.shape[1] :], skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("adapters", nargs="*", help="stages' folders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-commands", action="store_true", help="leave out 1, which takes minutes")
    parser.add_argument("--generation-only", action="store_true", help="4 alone")
    asked = parser.parse_args()
    if asked.generation_only:
        generation_against_generate(asked.rounds)
        return
    if asked.adapters:
        targets = [str(Path(folder).absolute()) for folder in asked.adapters]
        if not asked.no_commands:
            whole_commands(targets, asked.rounds)
        in_one_process(targets, asked.rounds)
    loss_against_lm_eval(asked.rounds)
    generation_against_generate(asked.rounds)


if __name__ == "__main__":
    main()
