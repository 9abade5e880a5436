"""The keys of other programs: each has the right hint, or none."""

from __future__ import annotations

import json
import re

import pytest
from support.small import ROOT

from ptspec import methods
from ptspec.recipe import other_programs
from ptspec.recipe.document import parse
from ptspec.recipe.schema import check
from ptspec.shipped import schema

RECIPE = schema("recipe.schema.json")
FIELDS = {
    key
    for path in (ROOT / "schemas").rglob("*.json")
    for key in json.loads(path.read_text("utf-8")).get("properties", {})
}
KEYS = FIELDS | {key for part in RECIPE["$defs"].values() for key in part.get("properties", {})}


def hint(key, method="sft", at="config"):
    stage = {"name": "x", "method": method, "data": "t"}
    recipe = {"model": {"path": "m"}, "data": {"t": {"path": "p"}}, "stages": [stage]}
    where = {
        "config": stage.setdefault("config", {}),
        "stage": stage,
        "recipe": recipe,
        "model": recipe["model"],
        "source": recipe["data"]["t"],
        "adapter": recipe.setdefault("adapter", {}),
    }[at]
    where[key] = 1
    return {d.pointer.rpartition("/")[2]: d.hint for d in check(parse(json.dumps(recipe), "f"))}[key]


@pytest.mark.parametrize(
    ("key", "method", "expected"),
    [
        (
            "max_prompt_length",
            "grpo",
            "TRL 1.16 has no max_prompt_length: rows are cut by max_length; online",
        ),
        ("max_prompt_length", "orpo", "TRL 1.16 has no max_prompt_length"),
        ("max_prompt_length", "dpo", "TRL 1.16 has no max_prompt_length"),
        ("max_prompt_token_length", "grpo", "TRL 1.16 has no max_prompt_length"),
        ("max_prompt_token_length", "reward", "TRL 1.16 has no max_prompt_length"),
        ("max_token_length", "grpo", '"max_length" belongs to sft'),
        ("chat_template_name", "grpo", "goes to /model/chat_template"),
        ("dataset_mix_dir", "sft", "leave it out"),
        ("checkpointing_steps", "sft", 'did you mean "save_steps"?'),
        ("stage", "sft", '"method" belongs to the stage, beside "config"'),
        ("apply_verifiable_reward", "grpo", '"by" chooses one by a column'),
        ("num_samples_per_prompt_rollout", "grpo", 'did you mean "num_generations"?'),
        ("total_episodes", "grpo", '"max_steps"'),
        ("dataset_name", "sft", "goes to /data"),
        ("max_samples", "sft", "goes to /data/<name>/limit"),
        ("attn_implementation", "sft", "goes to /model/attn_implementation"),
        ("attn_implementation", "grpo", "goes to /model/attn_implementation"),
        ("vllm_device", "grpo", "/compute/vllm"),
        ("sample_packing", "sft", 'did you mean "packing"?'),
        ("sample_packing", "dpo", '"packing" belongs to sft'),
        ("system_prompt", "grpo", "goes to /data/<name>/system"),
        ("reward_funcs", "grpo", '"rewards": [ … ], beside "config"'),
        ("special_tokens", "sft", "additional_special_tokens"),
        ("eos_token", "sft", "goes to /model/eos_token"),
        ("eos_token", "grpo", "goes to /model/eos_token"),
        ("pad_token", "dpo", "goes to /model/pad_token"),
        ("saves_per_epoch", "sft", '"save_strategy": "epoch"'),
        ("use_peft", "sft", "goes to /adapter/use_lora"),
        ("lora_target_linear", "sft", '"target_modules": "all-linear"'),
        ("model_revision", "sft", "goes to /model/revision"),
        ("save_safetensors", "sft", "leave it out"),
        ("template", "sft", "goes to /model/chat_template"),
        ("preprocessing_num_workers", "sft", 'did you mean "dataset_num_proc"?'),
        ("preprocessing_num_workers", "grpo", '"dataset_num_proc" belongs to sft'),
        ("missing_eos_penalty", "nash_md", '"mask_truncated_completions": true'),
        ("rpo_alpha", "dpo", '"loss_type": ["sigmoid", "sft"]'),
        ("group_by_length", "sft", '"train_sampling_strategy": "group_by_length"'),
        ("val_set_size", "sft", "/eval/data"),
        ("finetuning_type", "sft", '"use_lora": true'),
        ("adapter_name_or_path", "dpo", '"from" of the stage'),
        ("overwrite_output_dir", "sft", "--fresh"),
        ("wandb_entity", "sft", "WANDB_ENTITY"),
        ("rlhf_type", "dpo", '"method" belongs to the stage, beside "config"'),
        ("use_vllm", "sft", "goes to /compute/vllm"),
        ("warmup_ratio", "sft", 'did you mean "warmup_steps"? (below 1 it is the share of all steps)'),
        ("vllm_max_model_len", "grpo", '/compute/vllm: "max_model_length"'),
        ("dataset_mixture", "sft", "concat"),
        ("ref_model", "dpo", "the policy that came in"),
        ("Micro-Batch-Size", "sft", '"per_device_train_batch_size"'),
    ],
)
def test_a_key_in_a_stages_config(key, method, expected):
    assert expected in hint(key, method)


@pytest.mark.parametrize(
    ("key", "at", "expected"),
    [
        ("lr", "stage", '"learning_rate" goes to "config"'),
        ("learning_rate", "stage", 'goes to "config"'),
        ("lr", "recipe", '"learning_rate" goes to the "config" of a stage'),
        ("max_samples", "source", 'did you mean "limit"?'),
        ("dataset_split", "source", 'did you mean "split"?'),
        ("system_prompt", "source", 'did you mean "system"?'),
        ("template", "model", 'did you mean "chat_template"?'),
        ("attn_impl", "model", 'did you mean "attn_implementation"?'),
        ("lora_r", "adapter", 'did you mean "r"?'),
        ("rank", "adapter", 'did you mean "r"?'),
        ("dataset", "recipe", 'did you mean "data"?'),
        ("stage", "recipe", 'did you mean "stages"?'),
        ("output_dir", "recipe", "outputs/<name>"),
    ],
)
def test_a_key_elsewhere(key, at, expected):
    assert expected in hint(key, at=at)


@pytest.mark.parametrize("key", sorted(other_programs.NOTHING))
def test_a_key_with_nothing_like_it_here_has_no_hint(key):
    assert all(hint(key, method) is None for method in methods.METHODS)


@pytest.mark.parametrize("method", methods.METHODS)
def test_spelling_is_never_asked_where_the_meaning_is_known(method):
    known = set(schema(f"trl/{method}.schema.json")["properties"])
    for key in (*other_programs.PLACES, *other_programs.WORDS):
        if key not in known and (told := hint(key, method)):
            place = other_programs.PLACES.get(key, "")
            assert "did you mean" not in told or place.rpartition("/")[2] in told


def test_the_tables_do_not_overlap():
    tables = (other_programs.RENAMED, other_programs.PLACES, other_programs.WORDS, other_programs.NOTHING)
    keys = [key for table in tables for key in table]
    assert len(keys) == len(set(keys))
    assert [key for key in keys if key != key.lower()] == []
    assert set(other_programs.EXTRA) <= set(keys)


def test_what_is_proposed_exists():
    assert set(other_programs.RENAMED.values()) <= KEYS
    places = {step for place in other_programs.PLACES.values() for step in place.split("/")}
    assert places - {"", "<name>"} <= KEYS
    quoted = set(re.findall(r'"(\w+)":', " ".join(other_programs.WORDS.values())))
    assert quoted - KEYS <= {"min_lr", "min_lr_rate", "enable_thinking", "a", "b", "mode"}


def told_of(name):
    recipe = {
        "model": "m",
        "data": {"t": {"path": "p"}},
        "stages": [{"name": "x", "method": name, "data": "t"}],
    }
    (fault,) = check(parse(json.dumps(recipe), "f"))
    return fault.hint


ALIASES = [(alias, one.name) for one in methods.all_of_them() for alias in one.aliases]
STAND_INS = [(name, one.name) for one in methods.all_of_them() for name in one.in_place_of]
VARIANTS = [
    (alias, one.name, variant.config)
    for one in methods.all_of_them()
    for variant in one.variants
    for alias in variant.aliases
]


@pytest.mark.parametrize(("alias", "method"), ALIASES)
def test_another_name_of_a_method(alias, method):
    assert told_of(alias) == f'did you mean "{method}"?'


@pytest.mark.parametrize(("name", "method"), STAND_INS)
def test_a_method_that_is_not_here(name, method):
    assert told_of(name).startswith(f'"{method}" ')


@pytest.mark.parametrize(("alias", "method", "config"), VARIANTS)
def test_a_variant_is_a_method_with_fields(alias, method, config):
    assert told_of(alias) == f'"{method}", with {json.dumps(config)[1:-1]}'


def test_no_two_methods_claim_a_name():
    names = [name for name, *_ in (*ALIASES, *STAND_INS, *VARIANTS)]
    assert len(names) == len(set(names))
    assert set(names) & set(methods.METHODS) == set()
    assert [name for name in names if name != name.lower().replace("-", "_")] == []
