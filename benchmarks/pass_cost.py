"""What a pass of a training step costs: seconds of one over so many rows of so many tokens.

    python benchmarks/pass_cost.py data/base_model 1x8 1x32 4x32 16x32 16x64
    python benchmarks/pass_cost.py build/throughput/model 1x32 1x128 4x128 8x128
    python benchmarks/pass_cost.py build/throughput/8b 1x128 1x512 1x2048 4x2048      # a GPU, bf16

Forward and backward with LoRA r 16 on all linear layers, over TRL's fused head. The constants of
`ptspec/performance/cost.py` come of it: a line through the seconds over the tokens has the time of a token as
its slope; where it begins, over that slope, is a pass's overhead in tokens. On a GPU the clock on the wall
counts, on a CPU the processor's. `--threads`: of torch.
"""

from __future__ import annotations

import argparse
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head


def one_pass(model: torch.nn.Module, ids: torch.Tensor) -> tuple[float, float]:
    """Processor and wall seconds of a forward and a backward pass."""
    wait = torch.cuda.synchronize if ids.is_cuda else int
    wait()
    processor, wall = time.process_time(), time.perf_counter()
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)
    (-found.log_probs.sum() / ids.numel()).backward()
    wait()
    return time.process_time() - processor, time.perf_counter() - wall


def line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Where the least-squares line through (tokens, seconds) begins, and its slope."""
    tokens, seconds = zip(*points, strict=True)
    x, y = sum(tokens) / len(tokens), sum(seconds) / len(seconds)
    slope = sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a in tokens)
    return y - slope * x, slope


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("shapes", nargs="+", help="rows x tokens: 4x128")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype, device_map={"": device})
    add_fused_lm_head(model)
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes]
    least: dict[tuple[int, ...], tuple[float, float]] = {}
    for number in range(arguments.repeats + 1):
        for shape in shapes:
            took = one_pass(model, torch.randint(5, 200, shape, device=device))
            if number:  # the first one makes what later ones find
                least[shape] = min(least.get(shape, took), took)
    points = []
    for (rows, length), (processor, wall) in least.items():
        points.append((rows * length, processor if device == "cpu" else wall))
        print(f"{rows} × {length}: {processor * 1e3:.1f} ms processor, {wall * 1e3:.1f} ms wall, least")
    begins, slope = line(points)
    print(f"a token {slope * 1e3:.3f} ms; a pass as much as {begins / slope:.0f} tokens besides")


if __name__ == "__main__":
    main()
