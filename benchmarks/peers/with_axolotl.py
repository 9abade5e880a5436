"""axolotl: two configs.

DPO names the SFT adapter in `lora_model_dir`: "if you already have a lora model trained that you want to
load, put that here".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import Peer, assistant, user, write_json, write_rows


def common(work: Path) -> dict[str, Any]:
    return {
        "base_model": str(chain.BASE),
        "adapter": "lora",
        "lora_r": chain.RANK,
        "lora_alpha": chain.ALPHA,
        "lora_dropout": 0,
        "lora_target_linear": True,
        "chat_template": "tokenizer_default",
        "dataset_prepared_path": str(work / "prepared"),
        "sequence_len": chain.MAX_LENGTH,
        "micro_batch_size": chain.BATCH,
        "gradient_accumulation_steps": 1,
        "max_steps": chain.STEPS,
        "num_epochs": 1,
        "optimizer": "adamw_torch",
        "lr_scheduler": chain.SCHEDULE,
        "warmup_steps": 0,
        "logging_steps": 1,
        "seed": chain.SEED,
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "attn_implementation": "sdpa",
        **dict.fromkeys(("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"), False),  # for CUDA only
        "save_strategy": "no",
    }


def commands(work: Path, programs: Path) -> list[list[str]]:
    answers = [{"messages": [user(row["instruction"]), assistant(row["output"])]} for row in chain.rows()]
    taught = {"path": write_rows(work / "answers.jsonl", answers), "ds_type": "json", "type": "chat_template"}
    pairs = {
        "path": str(chain.TRAIN),
        "ds_type": "json",
        "split": "train",
        "type": "chat_template.default",
        "field_messages": "prompt",
    }
    sft = {
        **common(work),
        "datasets": [taught],
        "learning_rate": chain.SFT_RATE,
        "output_dir": str(work / "sft"),
    }
    dpo = {
        **common(work),
        "rl": "dpo",
        "rl_beta": chain.BETA,
        "datasets": [pairs],
        "learning_rate": chain.DPO_RATE,
        "lora_model_dir": str(work / "sft"),
        "output_dir": str(work / "dpo"),
    }
    train = [str(programs / "axolotl"), "train"]
    return [[*train, write_json(work / f"{name}.yaml", given)] for name, given in (("a", sft), ("b", dpo))]


PEERS = (
    Peer(
        "axolotl, `lora_model_dir`",
        "axolotl",
        commands,
        sft="sft",
        dpo="dpo",
        environment="axolotl",
        requirements=("axolotl==0.19.0",),
        settings={"AXOLOTL_DO_NOT_TRACK": "1", "ACCELERATE_USE_CPU": "true"},
    ),
)
