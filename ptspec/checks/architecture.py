"""Check from config.json what kind of model a recipe names, and whether it can be trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ptspec.architecture import auto
from ptspec.architecture.modules import Modules
from ptspec.diagnostics import Diagnostic
from ptspec.methods import all_of_them
from ptspec.methods.types import Head, Yields
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.quantised import Quantised, read_quantised
from ptspec.shipped import schema


def check_architecture(plan: Plan, config: Mapping[str, Any], at: str) -> Iterator[Diagnostic]:
    """Yield errors of the model's kind, at the pointer `at`, and of stages that it does not support."""
    kind = str(config.get("model_type", ""))
    if "auto_map" in config:
        if auto.causal_lm(kind) is None and not plan.model.trust_remote_code:
            message = f'a model of type "{kind}" brings its own code, which is not trusted'
            hint = '"model": {"trust_remote_code": true}, and --allow-code'
            yield Diagnostic("unknown-architecture", message, None, at, hint)
        return
    if kind and not auto.is_known(kind):
        message = f'the installed transformers has no model of type "{kind}"'
        yield Diagnostic("unknown-architecture", message, None, at, "pip install --upgrade transformers")
    elif kind and auto.causal_lm(kind) is None:
        yield _not_causal(config, kind, at)
    elif kind:
        modules, quantised = Modules(config), read_quantised(config)
        for stage in plan.trained:
            yield from _stage(stage, modules)
            if quantised is not None:
                yield from _quantised(stage, quantised)


def _not_causal(config: Mapping[str, Any], kind: str, at: str) -> Diagnostic:
    text = config.get("text_config")
    inner = str(text.get("model_type", "")) if isinstance(text, dict) else ""
    message = f'transformers opens no model of type "{kind}" for causal language modelling'
    hint = "a model that AutoModelForCausalLM opens: llama, qwen3, gemma3, mistral, …"
    if inner and auto.causal_lm(inner):
        hint = f'save its language model as one of its own (type "{inner}"), or take a text-only release'
    return Diagnostic("unsupported-architecture", message, None, at, hint)


def _stage(stage: Stage, modules: Modules) -> Iterator[Diagnostic]:
    kind = str(modules.config.get("model_type", ""))
    where = join(stage.at, "method")
    if stage.method.yields is Yields.REWARD_MODEL and auto.sequence_classifier(kind) is None:
        message = f'stage "{stage.name}": transformers has no scoring head over a model of type "{kind}"'
        yield Diagnostic("no-reward-head", message, None, where, "train the reward model over another model")
    if not stage.method.loss.head.is_tiled or modules.root is None:
        return
    if modules.prefix and not modules.exists(modules.prefix):
        name = modules.root.name
        message = (
            f'stage "{stage.name}": for {stage.method.name} TRL takes the hidden states of '
            f'"{modules.prefix}", and {name} has no such part'
        )
        whole = [one.name for one in all_of_them() if one.loss.head is Head.LOGITS]
        hint = f"{' and '.join(whole)} {'goes' if len(whole) == 1 else 'go'} without; or another model"
        yield Diagnostic("unsupported-architecture", message, None, where, hint)
    else:
        yield from _router_loss(stage, modules, kind)


def _router_loss(stage: Stage, modules: Modules, kind: str) -> Iterator[Diagnostic]:
    """Yield an error for TRL's router loss over a config without the fields that it reads."""
    name = "router_aux_loss_coef"
    if name not in schema(f"trl/{stage.method.name}.schema.json")["properties"]:
        return
    given = stage.config.get(name)
    weight = modules.default(name) if given is None else given
    if not weight:
        return
    fields = {*auto.config_fields(kind), *modules.config}
    lacking = [field for field in ("num_experts", "num_experts_per_tok") if field not in fields]
    if "output_router_logits" in fields and lacking:
        message = (
            f'stage "{stage.name}": TRL adds the loss of the router for {stage.method.name} and reads '
            f'"{lacking[0]}" of the config, which a model of type "{kind}" does not have'
        )
        hint = f'"config": {{"{name}": 0.0}} trains without that loss'
        yield Diagnostic("no-router-loss", message, None, join(stage.at, "config"), hint)


def _is_trainable(method: str) -> bool | None:
    from ptspec.architecture.quantizers import is_trainable

    return is_trainable(method)


def _quantised(stage: Stage, quantised: Quantised) -> Iterator[Diagnostic]:
    """Yield stages that cannot train weights that are already quantised."""
    adapter, method = stage.adapter, quantised.method
    is_bnb = method == "bitsandbytes"
    if not adapter.use_lora:
        words = f"the weights are quantised ({method}), and full fine-tuning would train them"
        hint = '"use_lora": true, or a release of the model in bf16'
    elif adapter.use_qlora and not is_bnb:
        words = f"the weights are quantised already ({method}), and QLoRA would quantise them again"
        hint = '"use_qlora": false puts LoRA over them; or take a release of the model in bf16'
    elif is_bnb and not adapter.use_qlora:
        words, hint = "the weights are quantised by bitsandbytes, which is QLoRA", '"use_qlora": true'
    elif not (quantised.is_dequantised or is_bnb) and _is_trainable(method) is False:
        words = f"transformers trains nothing over weights quantised by {method}"
        hint = "take a release of the model in bf16"
    else:
        return
    yield Diagnostic("already-quantised", words, None, adapter.at, hint)
