"""ms-swift: `swift sft`, then `swift rlhf` on the SFT checkpoint.

In `--adapters` alone, and, as the help of `--ref_adapters` asks for, in both options.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from peers import chain
from peers.chain import Peer, assistant, user, write_rows


def common(data: str, folder: Path, rate: float, settings: dict[str, str]) -> list[str]:
    options = {
        "model": chain.BASE,
        "model_type": "llama",
        "template": "dummy",
        "tuner_type": "lora",
        "lora_rank": chain.RANK,
        "lora_alpha": chain.ALPHA,
        "lora_dropout": 0,
        "target_modules": "all-linear",
        "dataset": data,
        "split_dataset_ratio": 0,
        "max_length": chain.MAX_LENGTH,
        "per_device_train_batch_size": chain.BATCH,
        "gradient_accumulation_steps": 1,
        "max_steps": chain.STEPS,
        "learning_rate": rate,
        "lr_scheduler_type": chain.SCHEDULE,
        "warmup_ratio": 0,
        "logging_steps": 1,
        "seed": chain.SEED,
        "report_to": "none",
        "output_dir": folder,
        "add_version": "false",
        **settings,
    }
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def commands(
    work: Path, programs: Path, options: tuple[str, ...], settings: dict[str, str]
) -> list[list[str]]:
    rows = chain.rows()
    answers = [{"messages": [user(row["instruction"]), assistant(row["output"])]} for row in rows]
    pairs = [
        {"messages": [user(row["prompt"]), assistant(row["chosen"])], "rejected_response": row["rejected"]}
        for row in rows
    ]
    swift = str(programs / "swift")
    sft = common(write_rows(work / "answers.jsonl", answers), work / "sft", chain.SFT_RATE, settings)
    dpo = common(write_rows(work / "pairs.jsonl", pairs), work / "dpo", chain.DPO_RATE, settings)
    saved = str(work / SAVED.format("sft"))
    method = ["--rlhf_type", "dpo", "--beta", str(chain.BETA), "--loss_type", "sigmoid"]
    given = [text for option in options for text in (option, saved)]
    return [[swift, "sft", *sft], [swift, "rlhf", *method, *dpo, *given]]


SAVED = f"{{}}/checkpoint-{chain.STEPS}"


def peer(title: str, *options: str, **settings: str) -> Peer:
    return Peer(
        title,
        "ms-swift",
        partial(commands, options=options, settings=settings),
        sft=SAVED.format("sft"),
        dpo=SAVED.format("dpo"),
        environment="swift",
        settings={"USE_HF": "1"},
    )


SAME = {"torch_dtype": "float32", "gradient_checkpointing": "false"}
PEERS = (
    peer("ms-swift, `--adapters`", "--adapters", **SAME),
    peer("ms-swift, `--adapters` and `--ref_adapters`", "--adapters", "--ref_adapters", **SAME),
)
DEFAULTS = (peer("ms-swift, defaults", "--adapters", "--ref_adapters"),)
"""The checkpoint's precision, gradient checkpointing."""
