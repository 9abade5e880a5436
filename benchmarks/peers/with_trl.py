"""Raw TRL: both trainers in one script, as its documentation and PEFT's have it.

The SFT adapter is loaded with `is_trainable=True` and given to `DPOTrainer`, which trains it on and takes a
frozen copy of it as the reference.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import Peer


def commands(work: Path, programs: Path) -> list[list[str]]:
    return [[str(programs / "python"), "-m", "peers.with_trl", str(work)]]


PEERS = (
    Peer(
        "raw TRL",
        "trl",
        commands,
        sft="sft",
        dpo="dpo",
        settings={"PYTHONPATH": str(chain.ROOT / "benchmarks")},
    ),
)


def arguments(folder: Path, rate: float) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": chain.BATCH,
        "max_steps": chain.STEPS,
        "max_length": chain.MAX_LENGTH,
        "learning_rate": rate,
        "lr_scheduler_type": chain.SCHEDULE,
        "logging_steps": 1,
        "seed": chain.SEED,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
    }


def sft(folder: Path) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"prompt": [chain.user(row["instruction"])], "completion": [chain.assistant(row["output"])]}
        for row in chain.rows()
    ]
    trainer = SFTTrainer(
        str(chain.BASE),
        args=SFTConfig(**arguments(folder, chain.SFT_RATE)),
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(
            r=chain.RANK, lora_alpha=chain.ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.train()
    trainer.save_model()


def dpo(folder: Path, adapter: Path) -> None:
    from datasets import Dataset
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    rows = [
        {
            "prompt": [chain.user(row["prompt"])],
            "chosen": [chain.assistant(row["chosen"])],
            "rejected": [chain.assistant(row["rejected"])],
        }
        for row in chain.rows()
    ]
    trainer = DPOTrainer(
        AutoPeftModelForCausalLM.from_pretrained(adapter, is_trainable=True),
        args=DPOConfig(**arguments(folder, chain.DPO_RATE), beta=chain.BETA),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(adapter),
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    sft(Path(sys.argv[1]) / "sft")
    dpo(Path(sys.argv[1]) / "dpo", Path(sys.argv[1]) / "sft")
