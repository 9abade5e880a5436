"""Nash-MD: how long sampling from the mixture takes, and a whole step; ratios, each from one interleaved run.

    benchmarks/nash_md_env.sh                     # once: TRL 1.13.0 in build/trl-1.13.0
    python benchmarks/nash_md.py                  # both tables; --quick for a tenth of the work

Sampling: 256 new tokens, batch of 8, a LoRA adapter on a 6-layer Llama. TRL 1.13.0's GeometricMixtureWrapper
Sampling: 256 new tokens, 8 rows, a LoRA adapter on a 6-layer Llama. TRL 1.13.0's GeometricMixtureWrapper
reference against Nash-MD, as many completions each. One thread; processor time, so that what else runs on the
machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PrinterCallback

ROOT = Path(__file__).parent.parent
PEER = ROOT / "build/trl-1.13.0/bin/python"
PEER_SCRIPT = Path(__file__).with_name("nash_md_peer.py")
PAD, END, WORDS, LENGTH = 0, 1, 2048, 24


def llama(hidden: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=WORDS,
        max_position_embeddings=1024,
        pad_token_id=PAD,
        eos_token_id=END,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def lora(**fields: Any) -> LoraConfig:
    return LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM", **fields)


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def sampling(hidden: int, rows: int, new: int, repeats: int) -> dict[str, list[float]]:
    sys.path.insert(0, str(ROOT))
    from ptspec.model.decoding.draws import RowDraws
    from ptspec.model.decoding.loop import Prompts
    from ptspec.training.nash_md.reference import switched_adapter
    from ptspec.training.nash_md.sampler import sample

    model = get_peft_model(llama(hidden), lora(init_lora_weights=False)).eval()
    base, reference = model.get_base_model(), switched_adapter(model)
    ids = torch.randint(2, WORDS, (rows, LENGTH))
    prompts = Prompts(ids, torch.ones_like(ids))
    config = GenerationConfig(
        max_new_tokens=new, do_sample=True, top_k=0, pad_token_id=PAD, eos_token_id=None
    )
    policy_inputs = {"input_ids": ids, "attention_mask": prompts.mask, "generation_config": config}
    contenders: dict[str, Callable[[], object]] = {
        "policy alone, generate()": lambda: base.generate(**policy_inputs),
        "mixture, ours": lambda: sample(
            base,
            prompts,
            config,
            reference=reference,
            coef=0.125,
            adapters=reference.adapters,
            choice=RowDraws([(0, row) for row in range(rows)]),
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    peer = "mixture, TRL 1.13.0"
    for turn in range(repeats + 1):
        for name, work in contenders.items():
            taken = seconds(work)
            if turn:
                times[name].append(taken)
        if turn and PEER.exists():
            times.setdefault(peer, []).append(peer_seconds(hidden, rows, new))
    return times


def peer_seconds(hidden: int, rows: int, new: int) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [PEER, PEER_SCRIPT, str(hidden), str(rows), str(new)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    taken: float = json.loads(done.stdout.splitlines()[-1])
    return taken


def steps(hidden: int, rows: int, new: int, repeats: int) -> dict[str, list[float]]:
    trainers = {"GRPO": grpo(hidden, rows, new), "Nash-MD": nash_md(hidden, rows, new)}
    for trainer in trainers.values():
        trainer.remove_callback(PrinterCallback)
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(repeats + 1):
        for name, trainer in trainers.items():
            taken = seconds(trainer.train)
            if turn:
                times[name].append(taken)
    return times


def grpo(hidden: int, rows: int, new: int) -> Any:
    from trl import GRPOConfig, GRPOTrainer

    return GRPOTrainer(llama(hidden), reward, args=GRPOConfig(**arguments(rows, new)), **parts())


def nash_md(hidden: int, rows: int, new: int) -> Any:
    from ptspec.training.nash_md.config import NashMDConfig
    from ptspec.training.nash_md.trainer import NashMDTrainer

    config = NashMDConfig(probe_steps=0, **arguments(rows, new))
    return NashMDTrainer(llama(hidden), config, reward_funcs=reward, **parts())


def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(set(completion.split()))) for completion in completions]


def parts() -> dict[str, Any]:
    from datasets import Dataset

    sys.path.insert(0, str(ROOT / "tests"))
    from support import games

    words = ["<pad>", "<end>", "<unk>", *(f"w{number}" for number in range(WORDS - 3))]
    rows = [" ".join(f"w{(7 * row + place) % 2000}" for place in range(16 + row % 8)) for row in range(64)]
    return {
        "train_dataset": Dataset.from_dict({"prompt": rows}),
        "processing_class": games.tokenizer_of(words),
        "peft_config": lora(),
    }


def arguments(rows: int, new: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "beta": 0.04,
        "per_device_train_batch_size": rows,
        "num_generations": 8,
        "max_completion_length": new,
        "max_steps": 1,
        "generation_kwargs": {"suppress_tokens": [END]},  # every completion as long as it may be
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 10,
        "report_to": "none",
        "save_strategy": "no",
    }


def table(title: str, times: dict[str, list[float]], over: str) -> None:
    print(f"\n{title}")
    base = statistics.median(times[over])
    for name, taken in times.items():
        middle = statistics.median(taken)
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        print(f"  {name:26} {middle:8.2f} s  ({spread}, {len(taken)} runs)   x {middle / base:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    new, repeats = (32, 1) if quick else (256, 3)
    if not PEER.exists():
        print("no TRL 1.13.0: run benchmarks/nash_md_env.sh first", file=sys.stderr)
    for hidden in (128, 256):
        title = f"sampling: 8 rows, {new} new tokens, 6 layers of {hidden}"
        table(title, sampling(hidden, 8, new, repeats), over="mixture, ours")
    for rows, length in ((8, new), (64, new // 4)):
        title = f"one step: {rows} completions of {length} tokens, 6 layers of 128, 8 a prompt, LoRA"
        table(title, steps(128, rows, length, repeats), over="GRPO")


if __name__ == "__main__":
    main()
