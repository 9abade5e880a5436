"""Configs of axolotl (`axolotl train x.yml`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.starter.from_configs.adapter import PEFT, carry_adapter
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.fields import carry_to
from ptspec.starter.from_configs.lead import LEAD
from ptspec.starter.from_configs.rewards import carry_rewards
from ptspec.starter.from_configs.sources import add_sources, hold_out
from ptspec.starter.from_configs.templates import carry_template
from ptspec.starter.from_configs.vllm import carry_vllm

NAME = "axolotl"
DEFAULTS: Mapping[str, Any] = {
    "num_train_epochs": 1.0,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "max_length": 512,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.03,
    "gradient_checkpointing": False,
    "save_strategy": "epoch",
}
"""What axolotl takes where its file says nothing."""
_ROWS: Mapping[str, Mapping[str, str]] = {
    "icr": {"prompt": "input"},
    "llama3.argilla": {"prompt": "instruction"},
    "chatml.argilla": {"prompt": "instruction"},
    "intel": {"prompt": "question"},
    "bradley_terry": {"prompt": "input"},
}
"""Kinds of "type" -> the columns that axolotl reads under other names."""
_FIELDS = {
    "field_messages": "messages",
    "field_chosen": "chosen",
    "field_rejected": "rejected",
    "field": "text",
}
_KINDS = (
    "pretrain",
    "alpaca",
    "chat_template",
    "completion",
    "sharegpt",
    "chatml",
    "llama3",
    "bradley_terry",
    "zephyr",
)
_WRITES_TURNS = ("chatml", "llama3", "zephyr")
_TURNS = ("chat_template", "sharegpt")
_ATTENTION = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "flex_attention": "flex_attention",
}
_SHARE = {"evals_per_epoch": "eval_steps", "saves_per_epoch": "save_steps"}
_PLAIN = (("role", ("role", "from")), ("content", ("content", "value")))
_BY_TRAINER = ("model_type", "tokenizer_type", "num_labels", "is_llama_derived_model", "reward_model")


def knows(values: dict[str, Any]) -> bool:
    """Whether a file with these keys is one of axolotl's."""
    return "base_model" in values


def method(values: Mapping[str, Any]) -> str | None:
    """What a file trains with: "rl", "reward_model", else sft."""
    if values.get("process_reward_model"):
        return "process_reward_model"
    return "reward_model" if values.get("reward_model") else str(values.get("rl") or LEAD.name)


def fill(draft: Draft) -> None:
    """Carry what axolotl alone calls as it does."""
    draft.carry("base_model", "/model/path", draft.take("base_model"))
    if (rl := draft.take("rl")) is not None:
        draft.say("rl", "/stage/method")
        draft.write_variant(str(rl))
    for key in _BY_TRAINER:
        if (value := draft.take(key)) is not None and key != "reward_model":
            draft.leave(key, value, "the model's files and the method say it")
        elif value is not None:
            draft.say(key, "/stage/method")
    _model(draft)
    _adapter(draft)
    _data(draft)
    _trl(draft)
    _steps(draft)
    if (project := draft.take("wandb_project")) is not None:
        draft.carry("wandb_project", "/tracking/project", project)
        draft.write("/tracking/report_to", "wandb")


def _model(draft: Draft) -> None:
    template, text = draft.take("chat_template"), draft.take("chat_template_jinja")
    if text is not None:
        draft.carry("chat_template_jinja", "/model/chat_template", text)
        if template is not None:
            draft.carry("chat_template", "/model/chat_template", text)
    elif template is not None:
        carry_template(draft, "chat_template", template)
    tokens = draft.take("special_tokens") or {}
    for name, token in tokens.items():
        if name in ("eos_token", "pad_token"):
            draft.carry(f"special_tokens.{name}", f"/model/{name}", token)
        else:
            draft.leave(f"special_tokens.{name}", token, "the model's files say it")
    if (ends := draft.take("eot_tokens")) is not None:
        why = "what the template ends a turn with is a stop token already; /model/eos_token names another"
        draft.leave("eot_tokens", ends, why)
    for key, name in _ATTENTION.items():
        if draft.rest.get(key) is True:
            draft.carry(key, "/model/attn_implementation", name)
            draft.rest.pop(key)
    if draft.rest.get("bf16") == "auto":
        draft.carry("bf16", "/config/bf16", draft.rest.pop("bf16"))
        draft.part("config").pop("bf16")  # the default


def _adapter(draft: Draft) -> None:
    kind = draft.take("adapter")
    linear = draft.take("lora_target_linear")
    if (targets := draft.take("lora_target_modules")) is not None:
        carry_to(draft, "lora_target_modules", "/adapter/target_modules", targets)
    if linear:
        if targets is None:
            draft.carry("lora_target_linear", "/adapter/target_modules", "all-linear")
        else:
            draft.leave("lora_target_linear", linear, "lora_target_modules names the modules, and it counts")
    elif linear is False:
        draft.nothing.append("lora_target_linear")
    if kind == "qlora":
        draft.rest.setdefault("load_in_4bit", True)
    if kind in ("lora", "qlora"):
        carry_adapter(draft, "adapter", lora=True)
        draft.write_defaults("adapter", {"lora_dropout": 0.0}, PEFT)
        return
    draft.recipe.pop("adapter", None)
    carry_adapter(draft, "adapter", lora=False)
    if kind is not None:
        draft.leave("adapter", kind, 'adapters are LoRA: /adapter, "use_lora": true; all weights are trained')


def _data(draft: Draft) -> None:
    sources, chats = [], False
    learns_all = draft.take("train_on_inputs")
    for entry in _entries(draft):
        given = dict(entry)
        source: dict[str, Any] = {"path": given.pop("data_files", None) or given["path"]}
        local = "data_files" in entry and given.pop("path") in ("json", "csv", "parquet", "text")
        if "data_files" in entry and not local:
            files = source["path"] if isinstance(source["path"], list) else [source["path"]]
            source["path"] = [f"hf://datasets/{entry['path']}/{file}" for file in files]
        given.pop("path", None)
        for name in ("name", "split", "revision"):
            if value := given.pop(name, None):
                source[name] = value
        kind = given.pop("type", None)
        columns = _columns(kind, given)
        if columns:
            source["columns"] = columns
        chats = chats or (isinstance(kind, str) and kind.split(".")[0] in _TURNS)
        _template_of(draft, kind)
        _told(draft, kind, given)
        sources.append(source)
    if sources:
        add_sources(draft, sources, [1.0] * len(sources))
    hold_out(draft, "val_set_size", draft.take("val_set_size"))
    if "assistant_only_loss" in draft.config_fields:
        _learned(draft, chats, learns_all)
    elif learns_all is not None:
        draft.leave("train_on_inputs", learns_all, "the method's loss is over the answers")


def _entries(draft: Draft) -> list[dict[str, Any]]:
    """What `datasets` lists, and the texts of `pretraining_dataset`."""
    found: list[dict[str, Any]] = []
    for key in ("datasets", "pretraining_dataset"):
        given = draft.take(key)
        if given is None:
            continue
        listed = given if isinstance(given, list) else [given]
        found += [{"path": entry} if isinstance(entry, str) else entry for entry in listed]
        draft.say(key, "/data")
        if key != "datasets":
            draft.differs.append(
                'the texts are read whole; "streaming": true of the source, with max_steps, streams'
            )
    return found


def _template_of(draft: Draft, kind: Any) -> None:
    """Kinds such as "llama3.ultra" write the template's turns themselves."""
    name = kind.split(".")[0] if isinstance(kind, str) and "." in kind else ""
    if name in _WRITES_TURNS and "chat_template" not in draft.part("model"):
        carry_template(draft, "datasets.type", name)


def _learned(draft: Draft, chats: bool, learns_all: bool | None) -> None:
    """axolotl learns the answers alone unless "train_on_inputs" is on."""
    if learns_all:
        draft.carry("train_on_inputs", "/config/completion_only_loss", False)
        return
    if learns_all is not None:
        draft.carry("train_on_inputs", "/config/assistant_only_loss", chats)
        draft.part("config").pop("assistant_only_loss")
    if chats:
        draft.write("/config/assistant_only_loss", True)
        draft.differs.append(
            "assistant_only_loss true is axolotl's default, written out; it takes a chat template that marks "
            "answers"
        )


def _columns(kind: Any, given: dict[str, Any]) -> dict[str, str]:
    """Our columns -> those that the file has for them, where these are called otherwise."""
    parts = [kind.partition(".")[0], *kind.split(".")[1:], kind] if isinstance(kind, str) else []
    found = next((dict(_ROWS[part]) for part in reversed(parts) if part in _ROWS), {})
    for key, name in _FIELDS.items():
        if (column := given.pop(key, None)) not in (None, name, "conversations"):
            found[name] = column
    return found


def _told(draft: Draft, kind: Any, given: dict[str, Any]) -> None:
    """What is said of a data set that a source has no word for."""
    if isinstance(kind, dict):
        draft.leave("datasets.type", kind, 'goes to the source: "columns": {"prompt": …, "completion": …}')
    elif isinstance(kind, str) and kind.split(".")[0] not in _KINDS:
        why = "rows are told by their columns; a transform of your own becomes columns of the file"
        draft.leave("datasets.type", kind, why)
    elif isinstance(kind, str) and kind.startswith("alpaca"):
        draft.differs.append(
            '"alpaca" rows become turns of the chat template where the model has one, a plain text if not; '
            'axolotl writes "### Instruction:" around them'
        )
    mapping = given.pop("message_property_mappings", None) or {}
    odd = {key: mapping[key] for key, known in _PLAIN if mapping.get(key) not in (None, *known)}
    if odd:
        draft.leave(
            "datasets.message_property_mappings", odd, "turns have role and content, or from and value"
        )
    roles = given.pop("roles", None) or {}
    if any(value not in ([key], key) for key, value in roles.items()):
        draft.leave("datasets.roles", roles, "roles are system, user, assistant, tool (human, gpt too)")
    given.pop("ds_type", None)
    for key, value in given.items():
        draft.leave(f"datasets.{key}", value, "a source has nothing like it")


def _trl(draft: Draft) -> None:
    """The section `trl` of the online methods: TRL's own names."""
    inner = draft.take("trl") or {}
    for key, value in inner.items():
        if key in draft.rest:
            draft.leave(f"trl.{key}", value, "stands outside of trl too, and that counts")
        else:
            draft.rest[key] = value
    carry_rewards(draft)
    if inner:
        carry_vllm(draft, "server")


def _steps(draft: Draft) -> None:
    """Carry `saves_per_epoch` and `evals_per_epoch`: epochs for one, a share of all steps for more."""
    epochs = float(draft.rest.get("num_epochs") or 1)
    if "eval_data" in draft.part("stage") and (packed := draft.take("eval_sample_packing")) is not None:
        place = "/config/eval_packing"
        if "eval_packing" in draft.config_fields:
            carry_to(draft, "eval_sample_packing", place, packed)
        else:
            draft.leave("eval_sample_packing", packed, f"{draft.method.name} packs no rows")
    for key, name in _SHARE.items():
        if (times := draft.take(key)) is None:
            continue
        kind = name.removesuffix("_steps")
        if kind == "eval" and "eval_data" not in draft.recipe.get("stage", {}):
            draft.leave(key, times, "no rows are held out: val_set_size is 0")
            continue
        share = round(1 / (float(times) * epochs), 6) if times else 1
        if share >= 1 or times == 1:
            draft.carry(key, f"/config/{kind}_strategy", "epoch" if times else "no")
        else:
            draft.write(f"/config/{kind}_strategy", "steps")
            draft.carry(key, f"/config/{name}", share)
    if draft.rest.get("save_steps") is not None:
        draft.part("config").setdefault("save_strategy", "steps")
