"""Check the types of structured keys before anything is read from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location, cut
from ptspec.starter.from_configs.values import names

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(float(value), float)
    except (TypeError, ValueError):
        return False


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    return _text(value) or (isinstance(value, list) and all(map(_text, value)))


def _numbers(value: Any) -> bool:
    return isinstance(value, list | str) and all(map(_number, names(value)))


def _mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value))


def _sets(key: str) -> Check:
    """A list of mappings that each name a data set by `key`."""
    return lambda value: (
        isinstance(value, list) and all(_mapping(one) and _text(one.get(key)) for one in value)
    )


def _texts_or_sets(value: Any) -> bool:
    return _names(value) or _sets("path")(value if isinstance(value, list) else [value])


def _mixture(value: Any) -> bool:
    return (
        _mapping(value)
        and _sets("id")(value.get("datasets"))
        and all(_number(one.get("weight") or 1) for one in value["datasets"])
        and all(isinstance(one.get("columns") or [], list) for one in value["datasets"])
    )


def _fractions(value: Any) -> bool:
    return _mapping(value) and all(map(_number, value.values()))


TEXT, NUMBER, WHOLE = (_text, "a text"), (_number, "a number"), (_whole, "a whole number")
NAMES, NUMBERS = (_names, "a name or a list of names"), (_numbers, "a list of numbers")
MAPPING = (_mapping, "keys and values")

SHAPES: Mapping[str, tuple[Check, str]] = {
    **dict.fromkeys(("base_model", "model_name_or_path", "dataset_name", "dataset_config"), TEXT),
    **dict.fromkeys(("dataset_train_split", "dataset_test_split", "dataset_prompt_column"), TEXT),
    **dict.fromkeys(("dataset_text_field", "chat_template", "chat_template_jinja", "template", "rl"), TEXT),
    **dict.fromkeys(("flash_attn", "mix_strategy", "dataset_dir", "stage", "pref_loss"), TEXT),
    **dict.fromkeys(("finetuning_type", "adapter", "reward_model_name_or_path", "vllm_mode"), TEXT),
    **dict.fromkeys(("num_epochs", "saves_per_epoch", "evals_per_epoch", "pref_ftx"), NUMBER),
    **dict.fromkeys(("lora_rank", "pissa_iter", "max_samples", "num_processes", "max_steps"), WHOLE),
    **dict.fromkeys(("reward_funcs", "dataset", "eval_dataset", "dataset_splits", "lora_target"), NAMES),
    **dict.fromkeys(("lora_target_modules", "add_tokens", "add_special_tokens", "new_special_tokens"), NAMES),
    **dict.fromkeys(("reward_weights", "interleave_probs"), NUMBERS),
    **dict.fromkeys(("trl", "special_tokens"), MAPPING),
    "datasets": (_sets("path"), 'a list of data sets with a "path" each'),
    "pretraining_dataset": (_texts_or_sets, 'a name, or a list of data sets with a "path" each'),
    "dataset_mixture": (_mixture, '{"datasets": [{"id": …, "weight": …}, …]}'),
    "dataset_mixer": (_fractions, "names of data sets with a fraction each"),
}
"""Key -> what its value must be, and in words. Every other key is checked by the recipe's schema."""


def check_shapes(values: Mapping[str, Any], file: Path) -> None:
    """Raises `InputError` with every key of `values` whose value is not of the shape that it is read in."""
    inner = values.get("trl")
    every = {**(inner if isinstance(inner, dict) else {}), **values}
    given = {key: value for key, value in every.items() if value is not None and value not in ("", [], {})}
    wrong = [
        f'"{key}" is {cut(str(value), 60)}, not {SHAPES[key][1]}'
        for key, value in given.items()
        if key in SHAPES and not SHAPES[key][0](value)
    ]
    if wrong:
        raise InputError(*(Diagnostic("wrong-type", message, Location(str(file))) for message in wrong))
