"""Configs of LLaMA-Factory (`llamafactory-cli train x.yaml`), with the data sets of its dataset_info.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptspec.starter.from_configs.adapter import carry_adapter
from ptspec.starter.from_configs.dataset_info import source_of
from ptspec.starter.from_configs.draft import Draft
from ptspec.starter.from_configs.fields import carry_to
from ptspec.starter.from_configs.lead import LEAD
from ptspec.starter.from_configs.sources import HELD_OUT, add_sources, hold_out, measure_on_held_out
from ptspec.starter.from_configs.templates import carry_template
from ptspec.starter.from_configs.values import names

NAME = "LLaMA-Factory"
DEFAULTS: Mapping[str, Any] = {
    "learning_rate": 5e-5,
    "max_length": 2048,
}
"""What LLaMA-Factory takes where its file says nothing."""
_ATTENTION = {"fa2": "flash_attention_2", "fa3": "flash_attention_3", "sdpa": "sdpa", "disabled": "eager"}
_METHODS = ("orpo", "simpo")
"""Values of "pref_loss" that are methods of their own here."""
_TEXTS = "pt"
"""The stage that learns from texts."""
_NO_PAIRS = ("pt", "rm", "ppo")
_HERE = {
    "do_train": "every stage trains",
    "plot_loss": "curves are drawn by themselves",
    "use_fast_tokenizer": "the tokenizer is what the model's files make",
}


def knows(values: dict[str, Any]) -> bool:
    """Whether a file with these keys is one of LLaMA-Factory's."""
    marks = ("finetuning_type", "stage", "cutoff_len", "template", "dataset")
    return "model_name_or_path" in values and any(mark in values for mark in marks)


def method(values: Mapping[str, Any]) -> str | None:
    """What a file trains with: "stage", of dpo with the loss in "pref_loss"."""
    stage, loss = values.get("stage"), values.get("pref_loss")
    if loss in _METHODS and stage not in _NO_PAIRS:
        return str(loss)
    return LEAD.name if stage in (None, _TEXTS) else str(stage)


def fill(draft: Draft) -> None:
    """Carry what LLaMA-Factory alone calls as it does."""
    draft.carry("model_name_or_path", "/model/path", draft.take("model_name_or_path"))
    stage = draft.take("stage")
    if stage is not None:
        draft.say("stage", "/stage/method")
    _loss(draft)
    _model(draft)
    _adapter(draft)
    _data(draft, stage)
    for key, why in _HERE.items():
        if (value := draft.take(key)) is not None:
            draft.leave(key, value, why)
    off = draft.take("disable_gradient_checkpointing")
    if off is not None:
        draft.carry("disable_gradient_checkpointing", "/config/gradient_checkpointing", not off)
    if draft.take("pure_bf16"):
        draft.carry("pure_bf16", "/model/dtype", "bfloat16")
    if draft.take("use_dft_loss"):
        draft.carry("use_dft_loss", "/config/loss_type", "dft")


def _loss(draft: Draft) -> None:
    loss, mixed = draft.take("pref_loss"), draft.take("pref_ftx")
    if loss in _METHODS:
        draft.say("pref_loss", "/stage/method")
        draft.write_variant(loss)
    elif loss is not None:
        draft.carry("pref_loss", "/config/loss_type", loss)
    if mixed:
        draft.carry("pref_ftx", "/config/loss_weights", [1.0, float(mixed)])
        draft.write("/config/loss_type", [loss or "sigmoid", "sft"])
    if loss == "simpo":
        draft.part("config")["simpo_gamma"] = 0.5
        draft.part("config").pop("beta", None)
        draft.rest.setdefault("pref_beta", 0.1)


def _model(draft: Draft) -> None:
    if (template := draft.take("template")) is not None:
        carry_template(draft, "template", str(template))
    if (attention := draft.take("flash_attn")) is not None and attention != "auto":
        draft.carry("flash_attn", "/model/attn_implementation", _ATTENTION.get(attention, attention))
    elif attention is not None:
        draft.leave("flash_attn", attention, "the attention is chosen by itself")
    for key in ("add_tokens", "add_special_tokens", "new_special_tokens"):
        if (tokens := draft.take(key)) is not None:
            draft.carry(key, "/model/additional_special_tokens", names(tokens))


def _adapter(draft: Draft) -> None:
    kind = draft.take("finetuning_type", "lora")
    bits, method = draft.take("quantization_bit"), draft.take("quantization_method")
    if kind == "lora" and bits in (4, 8):
        draft.rest["load_in_4bit" if bits == 4 else "load_in_8bit"] = True
    rank = draft.rest.get("lora_rank") or 8
    if draft.take("pissa_init"):
        draft.carry("pissa_init", "/adapter/init_lora_weights", "pissa")
        iterations = draft.take("pissa_iter")
        kept = 16 if iterations is None else int(iterations)
        draft.write("/adapter/init_lora_weights", f"pissa_niter_{kept}" if kept > 0 else "pissa")
        if iterations is not None:
            draft.say("pissa_iter", "/adapter/init_lora_weights")
    targets = draft.take("lora_target", "all")
    if kind == "lora":
        carry_adapter(draft, "finetuning_type", lora=True)
        carry_to(draft, "lora_target", "/adapter/target_modules", targets)
        draft.rest.setdefault("lora_rank", 8)
        draft.rest.setdefault("lora_alpha", 2 * int(rank))
    else:
        draft.recipe.pop("adapter", None)
        carry_adapter(draft, "finetuning_type", lora=False)
        if kind == "full":
            draft.say("finetuning_type", "/adapter/use_lora")
        else:
            why = 'adapters are LoRA: /adapter, "use_lora": true; all weights are trained'
            draft.leave("finetuning_type", kind, why)
    if bits is not None and kind == "lora" and bits in (4, 8):
        draft.carry("quantization_bit", "/adapter/use_qlora", True)
    elif bits is not None:
        draft.leave("quantization_bit", bits, "4 or 8 bits under an adapter, by bitsandbytes")
    if method is not None:
        draft.leave("quantization_method", False if method == "bnb" else method, "bitsandbytes quantises")


def _data(draft: Draft, stage: str | None) -> None:
    given, limit = draft.take("dataset_dir"), draft.take("max_samples")
    folder = given or "data"
    if given is not None:
        draft.say("dataset_dir", "/data")
    strategy, shares = draft.take("mix_strategy", "concat"), draft.take("interleave_probs")
    system = draft.take("default_system")
    called = names(draft.take("dataset", []))
    known = [source_of(name, folder, draft) for name in called]
    sources, turns = [one.source for one in known], any(one.turns for one in known)
    held = [source_of(name, folder, draft).source for name in names(draft.take("eval_dataset", []))]
    for source in (*sources, *held):
        source.update({"limit": int(limit)} if limit else {}, **({"system": system} if system else {}))
    if limit:
        draft.say("max_samples", "/data/train/limit")
    if system:
        draft.say("default_system", "/data/train/system")
    draft.say("dataset", "/data/train")
    if shares is not None:
        draft.say("interleave_probs", "/data/train/mix")
    if sources:
        if shares is not None:
            add_sources(draft, sources, [float(one) for one in names(shares)], "mix")
        else:
            add_sources(draft, sources, [1.0] * len(sources))
    if strategy != "concat" and shares is None:
        draft.leave("mix_strategy", strategy, 'goes to /data: {"mix": {"a": 0.5, "b": 0.5}} with "until"')
    elif strategy != "concat":
        draft.say("mix_strategy", "/data/train/until")
        draft.part("data")["train"]["until"] = "all" if strategy.endswith("over") else "first"
    hold_out(draft, "val_size", draft.take("val_size"))
    if held:
        draft.part("data")[HELD_OUT] = held[0]
        draft.say("eval_dataset", "/data/heldout")
        measure_on_held_out(draft)
        if len(held) > 1:
            draft.differs.append("held-out rows are those of the first of eval_dataset alone")
    _learned(draft, turns, stage)


def _learned(draft: Draft, turns: bool, stage: str | None) -> None:
    """LLaMA-Factory learns the answers alone, of every turn, but in its stage "pt"."""
    everything = draft.take("train_on_prompt")
    if draft.method.name != LEAD.name or stage == _TEXTS:
        if everything is not None:
            draft.leave("train_on_prompt", everything, "the method's loss is over the answers")
        return
    if everything is not None:
        draft.carry("train_on_prompt", "/config/completion_only_loss", not everything)
    if turns and not everything:
        draft.write("/config/assistant_only_loss", True)
        draft.differs.append(
            "assistant_only_loss true is LLaMA-Factory's default, written out; it takes a chat template that "
            "marks answers"
        )
