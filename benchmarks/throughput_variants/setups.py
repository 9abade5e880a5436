"""What is trained: a stage's method and config, its adapter, and the rows that it learns from."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LORA = {"use_lora": True, "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
QLORA = {**LORA, "use_qlora": True}
FULL = {"use_lora": False}
SEED = 42
WORDS = "the of and to in is was for on that with as by at from it an be this which".split()  # noqa: SIM905


@dataclass(frozen=True)
class Setup:
    """A stage to train.

    `config`: of the stage, else TRL's defaults; `factor`: FLOP per token and parameter (6 for full
    fine-tuning, 4 over a frozen base, which has no weight gradients); `dtype`: of the weights, None for each
    variant's own default.
    """

    name: str
    method: str
    adapter: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    factor: int = 4
    dtype: str | None = None


def small() -> tuple[Setup, ...]:
    """For a CPU: TRL's defaults but for the length of the training."""
    return (Setup("sft", "sft", LORA), Setup("dpo", "dpo", LORA))


def large() -> tuple[Setup, ...]:
    """For a GPU with 80 GB and a model in the shape of an 8B Llama."""
    sixteen_bit = {"optim": "adamw_bnb_8bit", "learning_rate": 1e-5}
    grpo = {"num_generations": 8, "max_completion_length": 256, "beta": 0.04}
    return (
        Setup("lora-2048", "sft", LORA, {"max_length": 2048}),
        Setup("lora-4096", "sft", LORA, {"max_length": 4096}),
        Setup("qlora-2048", "sft", QLORA, {"max_length": 2048}),
        Setup("full-2048", "sft", FULL, {"max_length": 2048, **sixteen_bit}, 6, "bfloat16"),
        Setup("full-4096", "sft", FULL, {"max_length": 4096, **sixteen_bit}, 6, "bfloat16"),
        Setup("dpo-2048", "dpo", LORA, {"max_length": 2048}),
        Setup("grpo-256", "grpo", LORA, grpo),
    )


def write_rows(file: Path, rows: int, longest: int, *, full: bool) -> None:
    """Write rows of `WORDS`, one token each.

    `full` ones of `longest` tokens, or of lengths as in instruction data (log-normal, with a mean of a third
    of `longest`, truncated there).
    """
    draw = random.Random(SEED)
    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            length = longest if full else min(longest, round(draw.lognormvariate(0, 0.8) * longest / 4))
            answer = _text(draw, max(8, length))
            values = {"prompt": _text(draw, 8), "completion": answer, "chosen": answer}
            values["rejected"] = _text(draw, max(8, length // 2))
            out.write(json.dumps(values) + "\n")


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))
