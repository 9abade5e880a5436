"""LLaMA-Factory: two configs. DPO names the SFT adapter in `adapter_name_or_path`; it is trained on by
default, and merged in memory with a new adapter over it where `create_new_adapter` is set."""

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


def commands(work: Path, programs: Path, **choice: Any) -> list[list[str]]:
    data(work)
    sft = {
        **common(work),
        "stage": "sft",
        "dataset": "answers",
        "learning_rate": chain.SFT_RATE,
        "output_dir": str(work / "sft"),
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
        **choice,
    }
    train = [str(programs / "llamafactory-cli"), "train"]
    return [[*train, write_json(work / f"{name}.yaml", config)] for name, config in (("a", sft), ("b", dpo))]


def peer(title: str, **choice: Any) -> Peer:
    return Peer(
        title,
        "llamafactory",
        partial(commands, **choice),
        sft="sft",
        dpo="dpo",
        environment="llamafactory",
        requirements=("llamafactory==0.9.5",),
        removed=("torchvision*", "torchaudio/lib"),
    )


PEERS = (
    peer("LLaMA-Factory"),
    peer("LLaMA-Factory, `create_new_adapter`", create_new_adapter=True),
)
