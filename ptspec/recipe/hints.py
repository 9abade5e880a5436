"""What a person may have meant by a key or a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

ALIASES: Mapping[str, str] = {
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "n_epochs": "num_train_epochs",
    "steps": "max_steps",
    "num_steps": "max_steps",
    "num_train_steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "micro_batch_size": "per_device_train_batch_size",
    "per_device_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "grad_accum_steps": "gradient_accumulation_steps",
    "gradient_accumulation": "gradient_accumulation_steps",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "seq_len": "max_length",
    "cutoff_len": "max_length",
    "sequence_len": "max_length",
    "model_max_length": "max_length",
    "max_new_tokens": "max_completion_length",
    "max_tokens": "max_completion_length",
    "scheduler": "lr_scheduler_type",
    "lr_scheduler": "lr_scheduler_type",
    "optimizer": "optim",
    "warmup": "warmup_steps",
    "warmup_ratio": "warmup_steps",
    "clip_grad": "max_grad_norm",
    "grad_clip": "max_grad_norm",
    "kl_coef": "beta",
    "dpo_beta": "beta",
    "pref_beta": "beta",
    "group_size": "num_generations",
    "loss": "loss_type",
    "lora_r": "/adapter/r",
    "lora_rank": "/adapter/r",
    "rank": "/adapter/r",
    "alpha": "/adapter/lora_alpha",
    "dropout": "/adapter/lora_dropout",
    "lora_target": "/adapter/target_modules",
    "lora_target_modules": "/adapter/target_modules",
    "lora": "/adapter/use_lora",
    "qlora": "/adapter/use_qlora",
    "load_in_4bit": "/adapter/use_qlora",
    "peft_config": "/adapter",
    "peft": "/adapter",
    "base_model": "/model",
    "model_name_or_path": "/model/path",
    "model_name": "/model/path",
    "tokenizer": "/model/path",
    "torch_dtype": "/model/dtype",
    "chat_template": "/model/chat_template",
    "dataset": "/data",
    "datasets": "/data",
    "train_file": "/data",
    "evaluation": "/eval",
    "output": "/name",
    "wandb_project": "/tracking/project",
    "num_processes": "/compute/processes",
    "parent": "from",
    "base": "from",
    "type": "method",
    "files": "path",
    "file": "path",
    "rename": "columns",
    "max_samples": "limit",
    "reward": "rewards",
    "threshold": "min",
    "minimum": "min",
    "maximum": "max",
}

METHODS_ELSEWHERE: Mapping[str, str] = {
    "ppo": '"grpo" samples and scores as PPO does, without a value model',
    "rloo": '"grpo" is the nearest; "nash_md" trains by RLOO\'s gradient',
    "online_dpo": '"nash_md" and "grpo" learn from what they sample',
    "nash": 'did you mean "nash_md"?',
    "rm": 'did you mean "reward"?',
    "reward_model": 'did you mean "reward"?',
    "reward_modeling": 'did you mean "reward"?',
    "lora": '"sft", with "adapter": {"use_lora": true}',
    "qlora": '"sft", with "adapter": {"use_lora": true, "use_qlora": true}',
    "finetune": 'did you mean "sft"?',
}
"""What others call a method, or have in its place."""

_EXTRA: Mapping[str, str] = {
    "warmup_ratio": " (below 1 it is the share of all steps)",
    "tokenizer": " (the tokenizer comes with the model)",
    "output": " (the run goes to outputs/<name>; --output names another folder)",
}


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """'did you mean "x"?' for the name nearest to `word`, if one is near."""
    by_shape = {_shape(name): name for name in known}
    close = get_close_matches(_shape(word), by_shape, 1, 0.6 if len(word) <= 5 else 0.7)
    return f'did you mean "{by_shape[close[0]]}"?' if close else None


def alias(key: str, known: Iterable[str], pointer: str) -> str | None:
    """The field that other programs call `key`: in the same object, or elsewhere in the recipe."""
    target = ALIASES.get(_shape(key))
    if target is None:
        return None
    extra = _EXTRA.get(_shape(key), "")
    name = target.rpartition("/")[2]
    if name in set(known):
        return f'did you mean "{name}"?{extra}'
    return f"goes to {target}{extra}" if target.startswith("/") and target != pointer else None


def listed(names: Iterable[str], most: int = 16) -> str:
    """Names in a line, cut after `most`."""
    found = list(names)
    return ", ".join(found[:most]) + (", …" if len(found) > most else "")


def _shape(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")
