"""The shape of an 8B Llama (Llama 3.1) without a weight of it, and what stages over it need."""

from __future__ import annotations

from ptspec import methods
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.memory import Memory, Work, memory
from ptspec.estimate.steps import count
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, Handover, ModelSpec, Stage
from ptspec.recipe.shape import ModelShape

HIDDEN, INNER, LAYERS, VOCABULARY, KEYS = 4096, 14336, 32, 128256, 1024
CONFIG = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 131072,
}


def shape() -> ModelShape:
    sizes = {
        "model.embed_tokens": (VOCABULARY, HIDDEN),
        "lm_head": (VOCABULARY, HIDDEN),
        "model.norm": (HIDDEN,),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        sizes |= {f"{at}.self_attn.{n}_proj": (HIDDEN, HIDDEN) for n in "qo"}
        sizes |= {f"{at}.self_attn.{n}_proj": (KEYS, HIDDEN) for n in "kv"}
        sizes |= {f"{at}.mlp.{n}_proj": (INNER, HIDDEN) for n in ("gate", "up")}
        sizes |= {f"{at}.mlp.down_proj": (HIDDEN, INNER)}
        sizes |= {f"{at}.{n}_layernorm": (HIDDEN,) for n in ("input", "post_attention")}
    return ModelShape(CONFIG, {f"{name}.weight": Tensor("BF16", size) for name, size in sizes.items()})


def needed(setup: str, method: str, *, rows: int = 1, length: int = 2048, dtype: str | None = None, **config):
    """Memory of one stage on a GPU: batch of `rows`, sequences of `length` tokens, LoRA r 16 on all linear
    layers, after an SFT of the same setup where the method has a reference."""
    spec = AdapterSpec(setup != "full", setup == "qlora", {"r": 16, "target_modules": "all-linear"})
    config = {"per_device_train_batch_size": rows, **config}
    stage = Stage("s", methods.get(method), "base", None, "train", spec, config=config)
    whole, incoming = shape(), None
    if stage.has_reference and setup != "full":
        incoming = stage_adapter(stage, whole, None).saved
        stage = Stage("s", methods.get(method), "sft", Handover.CONTINUE, "train", spec, config=config)
    settings = EffectiveConfig(stage, ComputeSpec(), gpu=True)
    adapter = stage_adapter(stage, whole, incoming)
    work = Work(length, count(settings, 0).generation) if stage.method.online else Work(length)
    found: Memory = memory(settings, ModelSpec("8b", True, dtype=dtype), whole, adapter, work)
    return found


LONG = {"length": 2048}
SAMPLED = {"rows": 8, "length": 768, "beta": 0.04}
BF16 = {"dtype": "bfloat16"}
TABLE = {
    "QLoRA | SFT, batch 1": ("qlora", "sft", LONG),
    "QLoRA | SFT, batch 8": ("qlora", "sft", {**LONG, "rows": 8}),
    "QLoRA | DPO, batch 1": ("qlora", "dpo", LONG),
    "QLoRA | DPO, batch 4": ("qlora", "dpo", {**LONG, "rows": 4}),
    "QLoRA | GRPO, batch 8": ("qlora", "grpo", SAMPLED),
    "LoRA | SFT, batch 1": ("lora", "sft", LONG),
    "LoRA | SFT, batch 8": ("lora", "sft", {**LONG, "rows": 8}),
    "LoRA | SFT, batch 1, no checkpointing": ("lora", "sft", {**LONG, "gradient_checkpointing": False}),
    "LoRA | DPO, batch 1": ("lora", "dpo", LONG),
    "LoRA | GRPO, batch 8": ("lora", "grpo", SAMPLED),
    "full | SFT, batch 1": ("full", "sft", LONG),
    "full | SFT, batch 1, bf16 weights": ("full", "sft", {**LONG, **BF16}),
    "full | SFT, batch 1, bf16 weights, 8-bit AdamW": (
        "full",
        "sft",
        {**LONG, **BF16, "optim": "adamw_bnb_8bit"},
    ),
}


def row(name: str) -> str:
    """A line of the table in docs/hardware.md."""
    setup, method, options = TABLE[name]
    found = needed(setup, method, **options)
    sizes = {part.name: part.bytes for part in found.parts}
    weights = sizes.pop("weights")
    trained = sum(size for part, size in sizes.items() if "adapter" in part or part == "gradients")
    states = sizes.get("optimizer states", 0)
    rest = found.total - weights - trained - states
    cells = [f"{size / 1e9:.1f}" for size in (weights, trained, states, rest, found.total)]
    return f"| {name} | {' | '.join(cells)} |"
