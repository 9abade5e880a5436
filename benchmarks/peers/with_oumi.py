"""Oumi: two configs.

DPO names the SFT adapter in `adapter_model`; with `use_peft`, as in its own LoRA recipes, and with
`adapter_trainable` in its place, as the help of that field has it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from peers import chain
from peers.chain import Peer, assistant, user, write_json, write_rows

OUMI = "oumi==0.9"
NEEDED = (
    "accelerate<2.0,>=1.10.0",
    "aiohttp<3.14,>=3.12",
    "aiofiles<26,>=24.1.0",
    "backoff<2.3,>=2.2.1",
    "click<8.5.0",
    "datasets<4.8.6,>=3.2",
    "greenlet",
    "hdrhistogram<0.11,>=0.10",
    "httpx<1.0,>=0.27",
    "jsonlines",
    "jsonschema<5.0,>=4.0",
    "mlflow-skinny>=3.1",
    "numpy<2.4,>=1.26",
    "omegaconf==2.4.0.dev4",
    "packaging",
    "pandas<3,>=2.3",
    "peft<0.20,>=0.17",
    "pexpect<4.10,>=4.9",
    "pillow<12.4,>=11.3",
    "posthog<8.0,>=7.0",
    "protobuf>=6.32",
    "pycares<6.0.0",
    "pydantic<2.14,>=2.11",
    "requests<3.0,>=2.31",
    "responses<0.27,>=0.25",
    "safetensors<0.9,>=0.6",
    "tensorboard<2.21,>=2.20",
    "tiktoken<1.0,>=0.7",
    "tqdm",
    "transformers<5.17,>=4.57",
    "trl<1.7,>=0.24",
    "typer<0.25.2",
    "typing_extensions",
    "wandb<0.26,>=0.21",
)
"""What Oumi asks for, without what launches, serves and evaluates, and without its bound on torch."""


def config(kind: str, data: str, folder: Path, rate: float) -> dict[str, Any]:
    dataset = {"dataset_name": f"text_{kind}_jsonl", "dataset_path": data}
    return {
        "model": {
            "model_name": str(chain.BASE),
            "torch_dtype_str": "float32",
            "model_max_length": chain.MAX_LENGTH,
            "trust_remote_code": False,
        },
        "data": {"train": {"datasets": [dataset]}},
        "training": {
            "trainer_type": f"TRL_{kind.upper()}",
            "use_peft": True,
            "per_device_train_batch_size": chain.BATCH,
            "gradient_accumulation_steps": 1,
            "max_steps": chain.STEPS,
            "learning_rate": rate,
            "lr_scheduler_type": chain.SCHEDULE,
            "logging_steps": 1,
            "seed": chain.SEED,
            "save_steps": 0,
            "save_final_model": True,
            "enable_tensorboard": False,
            "enable_wandb": False,
            "output_dir": str(folder),
        },
        "peft": {"lora_r": chain.RANK, "lora_alpha": chain.ALPHA, "lora_target_modules": ["all-linear"]},
    }


def rendered_pairs() -> list[dict[str, object]]:
    """The pairs as the strings that its preference data set takes: the chat template is already applied."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chain.BASE)
    return [
        {
            "prompt": tokenizer.apply_chat_template(
                [user(row["prompt"])], tokenize=False, add_generation_prompt=True
            ),
            "chosen": row["chosen"],
            "rejected": row["rejected"],
        }
        for row in chain.rows()
    ]


def commands(work: Path, programs: Path, trainable: bool) -> list[list[str]]:
    answers = [{"messages": [user(row["instruction"]), assistant(row["output"])]} for row in chain.rows()]
    sft = config("sft", write_rows(work / "answers.jsonl", answers), work / "sft", chain.SFT_RATE)
    pairs = write_rows(work / "pairs.jsonl", rendered_pairs())
    dpo = config("dpo", pairs, work / "dpo", chain.DPO_RATE)
    dpo["model"]["adapter_model"] = str(work / "sft")
    dpo["training"]["trainer_kwargs"] = {"beta": chain.BETA, "loss_type": "sigmoid"}
    if trainable:
        dpo["model"]["adapter_trainable"] = True
        dpo["training"]["use_peft"] = False
    train = [str(programs / "oumi"), "train", "-c"]
    return [[*train, write_json(work / f"{name}.yaml", given)] for name, given in (("a", sft), ("b", dpo))]


def peer(title: str, trainable: bool) -> Peer:
    return Peer(
        title,
        "oumi",
        partial(commands, trainable=trainable),
        sft="sft",
        dpo="dpo",
        environment="oumi",
        requirements=NEEDED,
        alone=(OUMI,),
    )


PEERS = (
    peer("Oumi, `adapter_model` and `use_peft`", trainable=False),
    peer("Oumi, `adapter_model` and `adapter_trainable`", trainable=True),
)
