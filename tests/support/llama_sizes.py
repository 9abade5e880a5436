"""Llamas of 1, 8 and 70 bn parameters on eight devices: the table "which strategy when" of docs/scaling.md.

PYTHONPATH=. python tests/support/llama_sizes.py
"""

from __future__ import annotations

from ptspec import methods
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.held import Holder
from ptspec.estimate.memory import Work, memory
from ptspec.estimate.traffic import traffic
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, ModelSpec, Stage
from ptspec.recipe.shape import ModelShape

PROCESSES, LENGTH, VOCABULARY = 8, 2048, 128256
SIZES = {"1B": (2048, 8192, 16, 16), "8B": (4096, 14336, 32, 32), "70B": (8192, 28672, 80, 64)}
"""Hidden and MLP size, layers, heads of 128; 8 key-value heads each."""
SETUPS = {
    "QLoRA": AdapterSpec(True, True, {"r": 16, "target_modules": "all-linear"}),
    "LoRA": AdapterSpec(True, lora={"r": 16, "target_modules": "all-linear"}),
    "full": AdapterSpec(False),
}
STRATEGIES = {
    "ddp": {"strategy": "ddp"},
    "ZeRO-2": {"strategy": "deepspeed", "deepspeed": {"zero_optimization": {"stage": 2}}},
    "fsdp": {"strategy": "fsdp"},
    "ZeRO-3": {"strategy": "deepspeed", "deepspeed": {"zero_optimization": {"stage": 3}}},
}
WHOLE = ("ddp", "ZeRO-2")
"""Strategies that leave weights whole, and so in 4 bits if need be."""


def shape(size: str) -> ModelShape:
    hidden, inner, layers, heads = SIZES[size]
    sizes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (VOCABULARY, hidden),
        "lm_head": (VOCABULARY, hidden),
        "model.norm": (hidden,),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}"
        sizes |= {f"{at}.self_attn.{n}_proj": (heads * 128, hidden) for n in "q"}
        sizes |= {f"{at}.self_attn.{n}_proj": (1024, hidden) for n in "kv"}
        sizes |= {f"{at}.self_attn.o_proj": (hidden, heads * 128)}
        sizes |= {f"{at}.mlp.{n}_proj": (inner, hidden) for n in ("gate", "up")}
        sizes |= {f"{at}.mlp.down_proj": (hidden, inner)}
        sizes |= {f"{at}.{n}_layernorm": (hidden,) for n in ("input", "post_attention")}
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": VOCABULARY,
    }
    return ModelShape(config, {f"{name}.weight": Tensor("BF16", size) for name, size in sizes.items()})


def cell(size: str, setup: str, strategy: str) -> str:
    """ "5 (opened 36) · 28": GB a device while it trains, while weights are opened, and sent in a step."""
    if setup == "QLoRA" and strategy not in WHOLE:
        return "–"
    compute = ComputeSpec("accelerate", PROCESSES, **STRATEGIES[strategy])
    config = {"per_device_train_batch_size": PROCESSES}
    stage = Stage(
        "s", methods.get("sft"), "base", None, "train", SETUPS[setup], config=config, compute=compute
    )
    settings, model, whole = EffectiveConfig(stage, compute, gpu=True), ModelSpec(size, True), shape(size)
    holder = Holder(settings, model, whole, stage_adapter(stage, whole, None))
    found = memory(settings, model, whole, holder.adapter, Work(LENGTH))
    sent = sum(one.sent(PROCESSES) for one in traffic(holder))
    opened = (
        f" (opened {_gb(found.process + sum(part.bytes for part in found.opened))})" if found.opened else ""
    )
    return f"{_gb(found.while_training)}{opened} · {_gb(sent)}"


def row(size: str, setup: str) -> str:
    return f"| {size} {setup} | {' | '.join(cell(size, setup, strategy) for strategy in STRATEGIES)} |"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2g}" if size < 9.95e9 else f"{size / 1e9:.0f}"


if __name__ == "__main__":
    print(f"| | {' | '.join(STRATEGIES)} |\n|---|{'---|' * len(STRATEGIES)}")
    for size in SIZES:
        for setup in SETUPS:
            print(row(size, setup))
