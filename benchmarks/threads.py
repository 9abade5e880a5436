"""How long OpenMP's threads may spin while they wait: the gain on an idle machine, the cost on a busy one.

    python benchmarks/threads.py                       # data/base_model, 40 steps a measurement
    python benchmarks/threads.py --model DIR --rounds 5
    python benchmarks/threads.py --busy                # with programs beside it alone
    python benchmarks/threads.py --only PASSIVE unset "spins 10,000"

torch divides an operation among the threads of libgomp. One that waits for the next operation spins, then
sleeps; to be woken takes as long as a small operation. Measured is the wall time of training steps (forward,
backward, AdamW on 8 rows of 64 tokens, LoRA-free) in a process of its own for each setting, in turn, on the
machine as it is and with as many programs beside it as it has cores. Shown: the median of each, and its ratio
to PASSIVE, under which threads sleep at once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS: dict[str, dict[str, str]] = {
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "unset": {},
    "ACTIVE": {"OMP_WAIT_POLICY": "ACTIVE"},
    **{f"spins {count:,}": {"GOMP_SPINCOUNT": str(count)} for count in (1_000, 10_000, 100_000)},
}
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def measure(model: str, steps: int) -> float:
    """Seconds a step, in this process."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-5)
    ids = torch.randint(10, 200, (8, 64))
    times = []
    for _ in range(steps + 5):
        begun = time.perf_counter()
        made(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - begun)
    return statistics.fmean(times[5:])


@contextmanager
def beside(programs: int) -> Iterator[None]:
    """So many programs that compute all the time."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def child(setting: dict[str, str], model: str, steps: int) -> float:
    environment = {name: text for name, text in os.environ.items() if name not in VARIABLES} | setting
    command = [sys.executable, __file__, "--child", "--model", model, "--steps", str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=str(ROOT / "data/base_model"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--busy", action="store_true", help="only with programs beside it")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.model, given.steps)))
        return
    cores = os.cpu_count() or 1
    for programs in (cores,) if given.busy else (0, cores):
        print(f"\n{programs} programs beside it, {cores} cores, load average {os.getloadavg()[0]:.1f}")
        found: dict[str, list[float]] = {name: [] for name in given.only}
        with beside(programs):
            for _ in range(given.rounds):
                for name in given.only:
                    found[name].append(child(SETTINGS[name], given.model, given.steps))
                    print(f"  {name:14} {1000 * found[name][-1]:7.1f} ms a step", flush=True)
        passive = found["PASSIVE"]
        print("Milliseconds a step (lowest, highest), ratio to PASSIVE of the same round:")
        for name, times in found.items():
            ratio = statistics.median(mine / theirs for mine, theirs in zip(times, passive, strict=True))
            middle, low, high = (1000 * one for one in (statistics.median(times), min(times), max(times)))
            print(f"  {name:14} {middle:7.1f} ({low:.1f}, {high:.1f})  {ratio:.2f}")


if __name__ == "__main__":
    main()
