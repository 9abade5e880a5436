"""How far the memory that `pt plan` tells is from what stages over an 8B Llama take on a GPU.

A checkpoint of random bf16 weights in the shape of Llama 3.1 8B is written to a folder, with the tokenizer
of the shipped model. Recipes of a few steps go through `pt run` and `pt plan`. Planned bytes, without those
of the CUDA context, stand beside the most that torch's allocator held while the stage trained
(`peak_memory_bytes` of its record), and the seconds of its steps.

    python benchmarks/gpu_memory.py --folder /dev/shm/gpu [--only lora qlora full] [--stages sft-1 dpo-1]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASE = ROOT / "data" / "base_model"
HIDDEN, INNER, LAYERS, VOCABULARY, HEADS, GROUPS, WIDTH = 4096, 14336, 32, 128256, 32, 8, 128
LENGTH, ANSWER, STEPS = 2048, 256, 6
LORA = {"use_lora": True, "r": 16, "lora_alpha": 16, "target_modules": "all-linear"}
HEADER = "| set-up | stage | planned GB | measured GB | | seconds |\n|---|---|---:|---:|---:|---:|"
COMMON = {
    "learning_rate": 1e-5,
    "gradient_checkpointing": True,
    "save_strategy": "no",
    "logging_steps": 1,
    "max_steps": STEPS,
}
LONG = {"max_length": LENGTH}
SAMPLED = {
    "per_device_train_batch_size": 8,
    "num_generations": 8,
    "max_completion_length": ANSWER,
    "beta": 0.04,
    "max_steps": 2,
}


def stage(name: str, method: str, source: str, parent: str, config: dict[str, Any]) -> dict[str, Any]:
    made = {"name": name, "method": method, "data": source, "from": parent, "config": {**COMMON, **config}}
    if method in ("grpo", "nash_md"):
        made["rewards"] = ["short"]
    return made


def of_an_adapter() -> list[dict[str, Any]]:
    """An SFT, and what goes on from it; batches are rows of `LENGTH` tokens."""
    rows = "per_device_train_batch_size"
    return [
        stage("sft-1", "sft", "long", "base", {**LONG, rows: 1}),
        stage("sft-8", "sft", "long", "base", {**LONG, rows: 8}),
        stage("sft-1-kept", "sft", "long", "base", {**LONG, rows: 1, "gradient_checkpointing": False}),
        stage("dpo-1", "dpo", "long", "sft-1", {**LONG, rows: 1}),
        stage("dpo-4", "dpo", "long", "sft-1", {**LONG, rows: 4}),
        stage("kto-2", "kto", "judged", "sft-1", {**LONG, rows: 2}),
        stage("orpo-1", "orpo", "long", "base", {**LONG, rows: 1}),
        stage("grpo-8", "grpo", "prompts", "sft-1", SAMPLED),
        stage("nash-8", "nash_md", "prompts", "sft-1", SAMPLED),
    ]


def setups() -> dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]]:
    """Of each set-up: the model's fields, the adapter, the stages."""
    eight_bit = {**LONG, "per_device_train_batch_size": 1, "optim": "adamw_bnb_8bit"}
    return {
        "lora": ({}, LORA, of_an_adapter()),
        "qlora": ({}, {**LORA, "use_qlora": True}, of_an_adapter()),
        "full": (
            {"dtype": "bfloat16"},
            {"use_lora": False},
            [stage("sft-1-bf16-8bit-adam", "sft", "long", "base", eight_bit)],
        ),
    }


def random_model(target: Path, layers: int, hidden: int, inner: int, vocabulary: int) -> None:
    """Weights of a standard deviation of .02 in four files; the norms are ones."""
    import torch
    from safetensors.torch import save_file

    target.mkdir(parents=True)
    heads = hidden // WIDTH
    groups = max(heads * GROUPS // HEADS, 1)
    config = json.loads((BASE / "config.json").read_text())
    config |= {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": WIDTH,
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }
    (target / "config.json").write_text(json.dumps(config))
    for file in BASE.iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, target)
    sizes = dict(tensors(layers, hidden, inner, vocabulary, heads * WIDTH, groups * WIDTH))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = list(sizes)
    places: dict[str, str] = {}
    for part in range(4):
        shard = f"model-{part + 1:05}-of-00004.safetensors"
        held = {name: weights(torch, sizes[name], device) for name in names[part::4]}
        save_file(held, target / shard, metadata={"format": "pt"})
        places |= dict.fromkeys(held, shard)
    (target / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def tensors(
    layers: int, hidden: int, inner: int, vocabulary: int, queries: int, keys: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    yield "lm_head.weight", (vocabulary, hidden)
    yield "model.norm.weight", (hidden,)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        yield f"{at}.self_attn.q_proj.weight", (queries, hidden)
        yield f"{at}.self_attn.o_proj.weight", (hidden, queries)
        yield from ((f"{at}.self_attn.{n}_proj.weight", (keys, hidden)) for n in "kv")
        yield from ((f"{at}.mlp.{n}_proj.weight", (inner, hidden)) for n in ("gate", "up"))
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
        yield from ((f"{at}.{n}_layernorm.weight", (hidden,)) for n in ("input", "post_attention"))


def weights(torch: Any, size: tuple[int, ...], device: str) -> Any:
    if len(size) == 1:
        return torch.ones(size, dtype=torch.bfloat16)
    return (torch.randn(size, dtype=torch.bfloat16, device=device) * 0.02).cpu()


def write_rows(folder: Path) -> None:
    """Pairs, each answer longer than `LENGTH` tokens; the same judged; prompts of about 400 tokens."""
    shipped = [json.loads(line) for line in (ROOT / "data" / "train.jsonl").read_text().splitlines()[:200]]
    text = " ".join(row["output"] for row in shipped)
    rows = [
        {
            "prompt": row["prompt"],
            "completion": text + row["output"],
            "chosen": text + row["chosen"],
            "rejected": text + row["rejected"],
        }
        for row in shipped[:64]
    ]
    write(folder / "long.jsonl", rows)
    judged = [
        {"prompt": row["prompt"], "completion": row["completion"], "label": number % 2 == 0}
        for number, row in enumerate(rows)
    ]
    write(folder / "judged.jsonl", judged)
    words = text.split()
    asked = [{"prompt": " ".join(words[number : number + 330])} for number in range(64)]
    write(folder / "prompts.jsonl", asked)


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pt(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "ptspec.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", flush=True)
    return done.stdout


def measure(folder: Path, name: str, wanted: list[str] | None, steps: int) -> None:
    model, adapter, stages = setups()[name]
    stages = [one for one in stages if not wanted or one["name"] in wanted]
    for one in stages:
        one["config"]["max_steps"] = min(one["config"]["max_steps"], steps)
    recipe = {
        "version": 1,
        "name": name,
        "model": {"path": str(folder / "model"), **model},
        "adapter": adapter,
        "data": {name: {"path": str(folder / f"{name}.jsonl")} for name in ("long", "judged", "prompts")},
        "rewards": {"short": {"function": "length", "max": 100}},
        "stages": stages,
    }
    file, output = folder / f"{name}.json", folder / f"out-{name}"
    file.write_text(json.dumps(recipe))
    shutil.rmtree(output, ignore_errors=True)
    began = time.monotonic()
    pt("run", file, "--output", output)
    print(f"{name}: {time.monotonic() - began:.0f} s for the whole command", flush=True)
    planned = {one["stage"]: one for one in json.loads(pt("plan", file, "--format", "json"))["stages"]}
    for one in stages:
        tell(name, one["name"], planned[one["name"]], output / one["name"])


def tell(setup: str, name: str, planned: dict[str, Any], folder: Path) -> None:
    if not (folder / "stage.json").exists():
        print(f"| {setup} | {name} | not finished |", flush=True)
        return
    record = json.loads((folder / "stage.json").read_text())
    parts = planned["memory_bytes"]
    total, peak = parts["total"] - parts["held"].get("CUDA context", 0), record["peak_memory_bytes"]
    sizes = f"{total / 1e9:.2f} | {peak / 1e9:.2f} | {peak / total - 1:+.1%}"
    print(f"| {setup} | {name} | {sizes} | {record['seconds']:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=setups(), default=list(setups()))
    parser.add_argument("--stages", nargs="+", help="Else all of a set-up.")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--inner", type=int, default=INNER)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / "model").exists():
        random_model(
            options.folder / "model", options.layers, options.hidden, options.inner, options.vocabulary
        )
    write_rows(options.folder)
    print(HEADER, flush=True)
    for name in options.only:
        measure(options.folder, name, options.stages, options.steps)


if __name__ == "__main__":
    main()
