"""LLaMA-Factory: two configs.

DPO names the SFT adapter in `adapter_name_or_path`; it is trained on by default, and merged in memory with a
new adapter over it where `create_new_adapter` is set.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import Peer, write_json


def common(work: Path) -> dict[str, Any]:
    return {
        "model_name_or_path": str(chain.BASE),
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": chain.RANK,
        "lora_alpha": chain.ALPHA,
        "lora_target": "all",
        "dataset_dir": str(work),
        "cutoff_len": chain.MAX_LENGTH,
        "per_device_train_batch_size": chain.BATCH,
        "gradient_accumulation_steps": 1,
        "max_steps": chain.STEPS,
        "lr_scheduler_type": chain.SCHEDULE,
        "logging_steps": 1,
        "seed": chain.SEED,
        "use_cpu": True,
        "report_to": "none",
    }


def data(work: Path) -> None:
    pairs = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    file = {"file_name": str(chain.TRAIN)}
    answers = {**file, "columns": {"prompt": "instruction", "response": "output"}}
    write_json(
        work / "dataset_info.json", {"answers": answers, "pairs": {**file, "ranking": True, "columns": pairs}}
    )


def commands(work: Path, programs: Path, anew: bool, settings: dict[str, Any]) -> list[list[str]]:
    data(work)
    sft = {
        **common(work),
        "stage": "sft",
        "dataset": "answers",
        "learning_rate": chain.SFT_RATE,
        "output_dir": str(work / "sft"),
        **settings,
    }
    dpo = {
        **common(work),
        "stage": "dpo",
        "dataset": "pairs",
        "learning_rate": chain.DPO_RATE,
        "pref_loss": "sigmoid",
        "pref_beta": chain.BETA,
        "adapter_name_or_path": str(work / "sft"),
        "output_dir": str(work / "dpo"),
        **settings,
        **({"create_new_adapter": True} if anew else {}),
    }
    train = [str(programs / "llamafactory-cli"), "train"]
    return [[*train, write_json(work / f"{name}.yaml", config)] for name, config in (("a", sft), ("b", dpo))]


def peer(title: str, settings: dict[str, Any], anew: bool = False) -> Peer:
    return Peer(
        title,
        "llamafactory",
        partial(commands, anew=anew, settings=settings),
        sft="sft",
        dpo="dpo",
        environment="llamafactory",
        removed=("torchaudio/lib",),
    )


SAME = {"disable_gradient_checkpointing": True}
"""Its other settings are ptspec's: float32 where neither `bf16` nor `fp16` is asked for."""
PEERS = (
    peer("LLaMA-Factory", SAME),
    peer("LLaMA-Factory, `create_new_adapter`", SAME, anew=True),
)
DEFAULTS = (peer("LLaMA-Factory, defaults", {}),)
"""Gradient checkpointing."""
