"""A GRPO step of ours against TRL's own `GRPOTrainer`, and a Nash-MD step against that of our GRPO.

    python benchmarks/online_step.py                                   # the shipped base model
    python benchmarks/online_step.py --model build/real_model/model    # SmolLM2: benchmarks/real_model.py
    python benchmarks/online_step.py --profile                         # the ten slowest functions of each

Each trainer makes the same step of a LoRA adapter again and again, in turns, on the same rows: those of
recipes/grpo.json, or of benchmarks/real_model.json. TRL draws with torch's random numbers, ours with those of
each row (of the same numbers come the same completions: tests/unit/training/test_leaving_rows.py).
Processor and wall seconds of one thread, as medians of the ratios of a round. Wanted: GRPO at most .85 of
TRL's, Nash-MD at most 1.4 of our GRPO.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "data/base_model"
TRL, GRPO, NASH_MD = "GRPO, TRL", "GRPO, ours", "Nash-MD, ours"
KEY = "completions/mean_length"
WANTED = ((GRPO, TRL, 0.85), (NASH_MD, GRPO, 1.4))


@dataclass(frozen=True)
class Step:
    """The shape of a step. `beta` is the weight of the KL to the reference."""

    rows_a_pass: int
    passes: int
    generations: int
    new_tokens: int
    beta: float
    opponents: int | None = None


SHAPES = {True: Step(64, 1, 8, 48, 0.02), False: Step(8, 3, 8, 40, 0.02, 2)}
"""By whether the model is the shipped one."""


@dataclass(frozen=True)
class Taken:
    """Seconds of one step."""

    processor: float
    wall: float


def prompts_of(model: Path) -> Dataset:
    if model == SHIPPED:
        rows = load_dataset("json", data_files=str(ROOT / "data/train.jsonl"), split="train")
        return rows.select_columns(["prompt"])
    rows = load_dataset("json", data_files=str(model.parent / "train.jsonl"), split="train")
    system = {"role": "system", "content": "Solve the problem."}
    chats = [[system, {"role": "user", "content": prompt}] for prompt in rows["prompt"]]
    return Dataset.from_dict({"prompt": chats})


def reward(completions: list[Any], **columns: Any) -> list[float]:
    """How many different words."""
    texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
    return [float(len(set(text.split()))) for text in texts]


def trainers(model: Path, step: Step, names: list[str]) -> dict[str, Any]:
    import trl

    sys.path.insert(0, str(ROOT))
    from ptspec.training.nash_md.config import NashMDConfig
    from ptspec.training.nash_md.trainer import NashMDTrainer
    from ptspec.training.online import GRPOTrainer

    nash_md = {"probe_steps": 0, "num_opponents": step.opponents}
    made = {
        TRL: (trl.GRPOTrainer, trl.GRPOConfig, {}),
        GRPO: (GRPOTrainer, trl.GRPOConfig, {}),
        NASH_MD: (NashMDTrainer, NashMDConfig, nash_md),
    }
    return {name: trainer(model, step, *made[name]) for name in names}


def trainer(model: Path, step: Step, kind: Any, config: Any, further: Mapping[str, Any]) -> Any:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    arguments = config(
        output_dir=tempfile.mkdtemp(),
        beta=step.beta,
        learning_rate=0.0,  # every step is the same one
        per_device_train_batch_size=step.rows_a_pass,
        gradient_accumulation_steps=step.passes,
        num_generations=step.generations,
        max_completion_length=step.new_tokens,
        max_steps=1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        **further,
    )
    made = kind(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=reward,
        args=arguments,
        train_dataset=prompts_of(model),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    made.remove_callback(PrinterCallback)
    made.add_callback(Clock())
    return made


class Clock(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """The seconds of the step that was made last, generation and learning."""

    def __init__(self) -> None:
        self.begun = self.taken = Taken(0.0, 0.0)

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.begun = Taken(time.process_time(), time.perf_counter())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        now = Taken(time.process_time(), time.perf_counter())
        self.taken = Taken(now.processor - self.begun.processor, now.wall - self.begun.wall)


def stepped(name: str, one: Any) -> None:
    """One step; of ours as a stage on a CPU makes it."""
    from ptspec.training.labels_alone import labels_alone

    with labels_alone(name != TRL):
        one.train()


def timed(name: str, one: Any) -> Taken:
    torch.manual_seed(0)
    stepped(name, one)
    (clock,) = (found for found in one.callback_handler.callbacks if isinstance(found, Clock))
    return clock.taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int)
    parser.add_argument("--beta", type=float)
    parser.add_argument("--passes", type=int, help="gradient_accumulation_steps")
    parser.add_argument("--cold", action="store_true", help="no step before those that are counted")
    parser.add_argument("--only", choices=("grpo", "nash_md"), help="one of the two comparisons")
    parser.add_argument("--profile", action="store_true", help="one step of each, and where its time went")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    shape = SHAPES[asked.model == SHIPPED]
    given = {"new_tokens": asked.new_tokens, "beta": asked.beta, "passes": asked.passes}
    step = Step(**{**vars(shape), **{name: value for name, value in given.items() if value is not None}})
    names = {"grpo": [TRL, GRPO], "nash_md": [GRPO, NASH_MD], None: [TRL, GRPO, NASH_MD]}[asked.only]
    made = trainers(asked.model, step, names)
    if asked.profile:
        for name, one in made.items():
            profile(name, one)
        return
    print(f"{asked.model.name}: {step}", flush=True)
    taken: dict[str, list[Taken]] = {name: [] for name in made}
    for name, one in made.items() if not asked.cold else ():
        stepped(name, one)
    for _ in range(asked.rounds):
        for name, one in made.items():
            taken[name].append(timed(name, one))
    tell(taken, made)


def tell(taken: Mapping[str, list[Taken]], made: Mapping[str, Any]) -> None:
    for name, seconds in taken.items():
        processor, wall = [one.processor for one in seconds], [one.wall for one in seconds]
        (lengths,) = (log[KEY] for log in made[name].state.log_history if KEY in log)
        spread = f"{min(processor):.2f} to {max(processor):.2f}"
        print(
            f"{name:14} processor {statistics.median(processor):7.2f} s ({spread})"
            f", wall {statistics.median(wall):7.2f} s, {lengths:.1f} tokens"
        )
    for name, over, wanted in WANTED:
        if name not in taken or over not in taken:
            continue
        pairs = list(zip(taken[name], taken[over], strict=True))
        processor = [one.processor / other.processor for one, other in pairs]
        wall_ratio = statistics.median(one.wall / other.wall for one, other in pairs)
        print(
            f"{name} / {over}: {statistics.median(processor):.3f} of the processor time "
            f"({min(processor):.3f} to {max(processor):.3f}), {wall_ratio:.3f} of the wall time "
            f"(wanted: ≤ {wanted})"
        )


def profile(name: str, one: Any) -> None:
    stepped(name, one)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(stepped, name, one)  # with the start of train(), which is no part of a step
    print(f"\n{name}")
    pstats.Stats(profiler).sort_stats("tottime").print_stats(12)
    pstats.Stats(profiler).sort_stats("cumtime").print_stats("trl|generat|nash_md|decoding", 25)


if __name__ == "__main__":
    main()
