"""The hand-over of an adapter to a stage, and which hand-overs keep its policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptspec.methods.types import Method, Yields
from ptspec.recipe.adapter_settings import unlike, unlike_saved
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import listed
from ptspec.recipe.json_object import read_object
from ptspec.recipe.json_pointer import join
from ptspec.recipe.names import Chain
from ptspec.recipe.paths import is_file
from ptspec.recipe.plan import AdapterSpec, Handover, ModelSpec, Stage

Value = dict[str, Any]

BEYOND = (
    *("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters"),
    *("lora_bias", "alora_invocation_tokens"),
)
"""LoraConfig fields that make an adapter more than low-rank updates of linear layers."""


def beyond_low_rank(lora: Mapping[str, Any]) -> str | None:
    """Return the field that makes an adapter more than low-rank updates; None if it is just that."""
    if lora.get("bias", "none") != "none":
        return "bias"
    return next((name for name in BEYOND if lora.get(name)), None)


def handover(
    name: str,
    given: Value,
    method: Method,
    own: AdapterSpec,
    parent: str,
    at: str,
    chain: Chain,
    findings: Findings,
) -> Handover | None:
    """Return the requested or default hand-over of stage `name`; None if no adapter comes in."""
    asked = Handover(given["handover"]) if given.get("handover") else None
    incoming = incoming_settings(parent, chain)
    _check_precision(name, own, parent, chain, findings)
    if incoming is None:
        if asked and not _may_bring_adapter(parent, chain):
            message = f'"handover" is given, but no adapter comes in from "{parent}"'
            findings.error("no-adapter", join(at, "handover"), message, "leave it out", key=True)
        return asked
    differing = _unlike(incoming, own, parent, chain)
    if method.yields is Yields.REWARD_MODEL:
        message = f'the reward stage "{name}" cannot start from an adapter: its head goes over whole weights'
        hint = 'leave "from" out (the base), or start from a stage with full weights'
        findings.error("reward-from-adapter", join(at, "from"), message, hint)
        return Handover.MERGE
    chosen = asked or _default(own, differing)
    if asked is not None:
        _check_handover(name, asked, own, differing, at, findings)
    _check_sum(name, chosen, incoming, own, at, findings)
    return chosen


def _default(own: AdapterSpec, differing: list[str]) -> Handover:
    if not differing:
        return Handover.CONTINUE
    return Handover.STACK if own.use_qlora else Handover.MERGE


def _may_bring_adapter(parent: str, chain: Chain) -> bool:
    """Return whether it is unknown what `parent` yields: an invalid stage."""
    return parent in chain.before and parent not in chain.done


def _check_handover(
    name: str, asked: Handover, own: AdapterSpec, differing: list[str], at: str, findings: Findings
) -> None:
    where = join(at, "handover")
    if asked is not Handover.MERGE and not own.use_lora:
        message = f'"{asked.value}" needs an adapter to train, and stage "{name}" has use_lora false'
        findings.error("handover-mismatch", where, message, 'use "merge", or set "use_lora": true')
    elif asked is Handover.CONTINUE and differing:
        fields = listed(f'"{field}"' for field in differing)
        message = f'stage "{name}" cannot continue the incoming adapter: its settings differ in {fields}'
        findings.error("handover-mismatch", where, message, 'give the same settings, or use "merge"')


def _check_sum(
    name: str, chosen: Handover, incoming: AdapterSpec, own: AdapterSpec, at: str, findings: Findings
) -> None:
    extra = beyond_low_rank(incoming.lora) or beyond_low_rank(own.lora)
    if extra is None and chosen is Handover.STACK and own.lora.get("init_lora_weights", True) is not True:
        extra = "init_lora_weights"
    if extra is None or not leaves_a_sum(chosen, own):
        return
    verb = "stack its adapter" if chosen is Handover.STACK else "merge over 4-bit weights"
    message = f'stage "{name}" cannot {verb}: "{extra}" makes an adapter more than a low-rank sum'
    other = "" if own.use_qlora else '"merge", or '
    hint = f'use {other}"continue" with the adapter settings of the incoming one'
    where = join(at, "handover")
    findings.error("cannot-stack" if chosen is Handover.STACK else "cannot-merge", where, message, hint)


def _check_precision(name: str, own: AdapterSpec, parent: str, chain: Chain, findings: Findings) -> None:
    """Report an adapter moved between 4-bit and unquantised weights, which changes the policy."""
    before = chain.done[parent].adapter if parent in chain.done else None
    if before is None or before.use_qlora == own.use_qlora:
        return
    place = join(own.at, "use_qlora")
    if before.use_qlora:
        message = (
            f'"{parent}" was trained over 4-bit weights and "{name}" stands on whole ones: another policy'
        )
        hint = f'set "use_qlora": true in "{name}" too, or start from what pt export makes of "{parent}"'
        findings.error("another-precision", place, message, hint)
    else:
        message = f'"{name}" quantises the weights that "{parent}" was trained on: it begins near that policy'
        hint = "without use_qlora it begins with exactly that policy"
        findings.warn("another-precision", place, message, hint)


def check_new_tokens(model: ModelSpec | None, stages: Sequence[Stage], findings: Findings) -> None:
    """Report new tokens that LoRA does not train, and merges of resized embeddings."""
    if model is None or not model.additional_special_tokens:
        return
    for stage in stages:
        if not leaves_a_sum(stage.handover, stage.adapter):
            continue
        asked = stage.handover.value if stage.handover else ""
        message = f'stage "{stage.name}" cannot {asked}: resized embeddings are not a low-rank sum'
        hint = 'use "continue" with the adapter settings of the incoming one'
        findings.error(f"cannot-{asked}", join(stage.at, "handover"), message, hint)
    if not any(_trains_embeddings(stage.adapter) for stage in stages):
        message = "no stage trains the embeddings: the new tokens keep the mean of the others"
        hint = 'for example "modules_to_save": ["embed_tokens"] in /adapter'
        findings.warn("new-tokens-untrained", "/model/additional_special_tokens", message, hint)


def leaves_a_sum(chosen: Handover | None, own: AdapterSpec) -> bool:
    """Return whether the stage saves the sum of two adapters: `stack`, and `merge` over 4-bit weights."""
    return chosen is Handover.STACK or (chosen is Handover.MERGE and own.use_qlora)


def _trains_embeddings(adapter: AdapterSpec) -> bool:
    fields = ("modules_to_save", "trainable_token_indices")
    return not adapter.use_lora or any(adapter.lora.get(name) for name in fields)


def incoming_settings(parent: str, chain: Chain) -> AdapterSpec | None:
    """Return the settings of the incoming adapter, as far as they are known without a model."""
    if parent in chain.done:
        before = chain.done[parent]
        return before.adapter if before.adapter.use_lora and not saves_weights(before, chain) else None
    config = Path(parent) / "adapter_config.json"
    return AdapterSpec(True, lora=read_object(config)) if is_file(config) else None


def saves_weights(stage: Stage, chain: Chain) -> bool:
    """Return whether `stage` merges an adapter that cannot be summed with its own, and saves full weights."""
    incoming = incoming_settings(stage.parent, chain) if stage.handover is Handover.MERGE else None
    adapters = () if incoming is None else (incoming, stage.adapter)
    return any(beyond_low_rank(adapter.lora) for adapter in adapters)


def _unlike(incoming: AdapterSpec, own: AdapterSpec, parent: str, chain: Chain) -> list[str]:
    """Return the settings in which the incoming adapter differs from this stage's."""
    if not own.use_lora:
        return ["use_lora"]
    if parent not in chain.done:
        return unlike_saved(incoming.lora, own.lora, lambda: chain.shape)
    found = unlike(incoming.lora, own.lora, lambda: chain.shape)
    found += ["use_qlora"] if incoming.use_qlora != own.use_qlora else []
    found += ["quantization"] if incoming.quantization != own.quantization else []
    # A saved merge or stack has the ranks of the incoming adapter and its own; a sum those of all.
    before = chain.done[parent]
    is_sum = before.merge is not None or before.handover in (Handover.MERGE, Handover.STACK)
    return found or (["r"] if is_sum else [])
