"""What TRL's trainers hold of a row: the data set after their own preparation, put through their collator."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from ptspec import methods
from ptspec.methods.types import Encoding
from support.as_trained import sequences


def held(method: str, rows: list[dict], base: Any, tokenizer: Any, folder: Path, **config: Any) -> list[list]:
    """(ids, learned) of each sequence of each row that the trainer holds, in the order of the rows."""
    import datasets

    found = methods.get(method)
    arguments = resolve_name(found.config)(
        output_dir=str(folder), report_to=[], bf16=False, use_cpu=True, gradient_checkpointing=False,
        per_device_train_batch_size=2, **config,
    )  # fmt: skip
    more: dict[str, Any] = {}
    if found.online:
        more["reward_funcs"] = [lambda completions, **_: [0.0] * len(completions)]
    if method == "dpo":
        from peft import LoraConfig

        more["peft_config"] = LoraConfig(target_modules="all-linear")
    if found.tokens.encoding is Encoding.TEXTS:
        rows = [rendered(row, tokenizer) for row in rows]
    trainer = resolve_name(found.trainer)(
        model=base,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows, on_mixed_types="use_json"),
        processing_class=tokenizer,
        **more,
    )
    if found.online:
        return [[(ids, [False] * len(ids))] for ids in online_prompts(trainer, rows, tokenizer)]
    return [sequences(trainer, dict(row)) for row in trainer.train_dataset]


def rendered(row: dict, tokenizer: Any) -> dict:
    """A chat as TRL makes text of it, with the row's tools, which ORPO's trainer itself drops."""
    from trl.data_utils import maybe_apply_chat_template

    return maybe_apply_chat_template(row, tokenizer, tools=row.get("tools"))


def online_prompts(trainer: Any, rows: list[dict], tokenizer: Any) -> list[list[int]]:
    """The ids of each prompt; TRL's trainers take tools and template arguments from the stage alone, so those
    of a row are rendered as the trainer renders."""
    if not any(row.get("tools") or row.get("chat_template_kwargs") for row in rows):
        trainer._batch_environments = [None] * len(rows)
        prompt_ids, _, _ = trainer._tokenize_prompts([row["prompt"] for row in rows])
        return [list(ids) for ids in prompt_ids]
    return [
        tokenizer.apply_chat_template(
            row["prompt"],
            tools=row.get("tools"),
            add_generation_prompt=True,
            return_dict=False,
            **{**trainer.chat_template_kwargs, **row.get("chat_template_kwargs", {})},
        )
        for row in rows
    ]
