"""TRL's own commands: `trl sft`, then `trl dpo`.

`trl dpo` takes a model and no adapter, so that the SFT adapter is merged in between, as TRL asks for ("first
merge and unload the existing adapter, save the resulting base model"), by a process that is not counted. DPO
then trains a new adapter; its reference is the merged model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import Peer, assistant, user, write_rows

MERGE = """
import sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
adapter, folder = sys.argv[1:]
AutoPeftModelForCausalLM.from_pretrained(adapter).merge_and_unload().save_pretrained(folder)
AutoTokenizer.from_pretrained(adapter).save_pretrained(folder)
"""


def common(data: Path, rows: Sequence[Mapping[str, object]], folder: Path, rate: float) -> dict[str, Any]:
    data.mkdir()
    write_rows(data / "train.jsonl", rows)
    return {
        "dataset_name": data,
        "output_dir": folder,
        "use_peft": True,
        "lora_r": chain.RANK,
        "lora_alpha": chain.ALPHA,
        "lora_dropout": 0,
        "lora_target_modules": "all-linear",
        "per_device_train_batch_size": chain.BATCH,
        "max_steps": chain.STEPS,
        "max_length": chain.MAX_LENGTH,
        "learning_rate": rate,
        "lr_scheduler_type": chain.SCHEDULE,
        "logging_steps": 1,
        "seed": chain.SEED,
        "report_to": "none",
    }


def commands(work: Path, programs: Path, **choice: Any) -> list[list[str]]:
    answers = [
        {"prompt": [user(row["instruction"])], "completion": [assistant(row["output"])]}
        for row in chain.rows()
    ]
    pairs = [
        {
            name: [turn(row[name])]
            for name, turn in (("prompt", user), ("chosen", assistant), ("rejected", assistant))
        }
        for row in chain.rows()
    ]
    sft = common(work / "answers", answers, work / "sft", chain.SFT_RATE)
    dpo = common(work / "pairs", pairs, work / "dpo", chain.DPO_RATE)
    merged = work / "merged"
    trl = str(programs / "trl")
    return [
        [trl, "sft", *options({"model_name_or_path": chain.BASE, **sft, **choice})],
        [str(programs / "python"), "-c", MERGE, str(work / "sft"), str(merged)],
        [trl, "dpo", *options({"model_name_or_path": merged, **dpo, "beta": chain.BETA, **choice})],
    ]


def options(values: dict[str, Any]) -> list[str]:
    return [text for name, value in values.items() for text in (f"--{name}", str(value))]


def peer(title: str, **choice: Any) -> Peer:
    return Peer(
        title,
        "trl",
        partial(commands, **choice),
        sft="sft",
        dpo="dpo",
        environment="trl",
        uncounted=(1,),
    )


PEERS = (peer("`trl sft`, `trl dpo`", bf16=False, gradient_checkpointing=False),)
DEFAULTS = (peer("`trl sft`, `trl dpo`, defaults"),)
"""bf16 and gradient checkpointing, whatever the device."""
