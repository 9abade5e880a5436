"""Check `compute.vllm` against method, adapter and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.effective_config import config_of
from ptspec.recipe.findings import Findings
from ptspec.recipe.handovers import beyond_low_rank
from ptspec.recipe.hints import listed
from ptspec.recipe.json_object import read_object
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import is_file
from ptspec.recipe.plan import ComputeSpec, EvaluationSpec, Handover, Stage
from ptspec.recipe.served_evaluation import evaluation_vllm
from ptspec.recipe.trl_defaults import trl_defaults
from ptspec.recipe.vllm import ADDRESS, COLOCATE, VLLMSpec, vllm_of, vllm_spec

KEY = "vllm"
WHERE = join("/compute", KEY)
OUT = '"vllm": null in the stage\'s "compute" makes the trainer sample'

GENERATION = frozenset(
    (
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "temperature", "top_p", "top_k"),
        *("min_p", "min_tokens", "stop", "bad_words", "logit_bias", "allowed_token_ids", "length_penalty"),
        *("include_stop_str_in_output", "structured_outputs"),
    )
)
"""Keys of `generation_kwargs` that a request to vLLM has."""


def check(
    compute: ComputeSpec, stages: Sequence[Stage], evaluation: EvaluationSpec | None, findings: Findings
) -> None:
    """Report the errors of `compute.vllm`, the recipe's and each stage's."""
    if compute.vllm is not None:
        _check_keys(vllm_spec(compute.vllm), WHERE, findings)
        if not any(vllm_of(stage) for stage in stages) and evaluation_vllm(evaluation, compute) is None:
            message = '"vllm" has no effect: no stage samples by it, and no evaluation'
            findings.warn("unused-key", WHERE, message, key=True)
    for stage in stages:
        own = join(stage.at, "compute", KEY)
        given = findings.given(own)
        if given is not None:
            _check_keys(vllm_spec(given), own, findings)
            if not stage.method.online:
                message = f'"vllm" has no effect: {stage.method.name} samples nothing while it trains'
                findings.warn("unused-key", own, message, key=True)
        _check_config(stage, findings)
        spec = vllm_of(stage)
        if spec is not None:
            where = own if given is not None else WHERE
            for message, hint in _refusals(stage, spec, stages):
                findings.error("contradiction", where, f'stage "{stage.name}": {message}', hint, key=True)


def _check_keys(spec: VLLMSpec, where: str, findings: Findings) -> None:
    """Report keys of another mode, and two addresses."""
    for name in spec.given:
        if name not in spec.fields and name != "$comment":
            how = f'"mode": "{spec.mode}"'
            how += "" if spec.mode == COLOCATE else f' and "weight_sync": "{spec.weight_sync}"'
            message = f'"{name}" has no effect with {how}'
            findings.warn("unused-key", join(where, name), message, listed(spec.fields), key=True)
    for other in ADDRESS[1:] if ADDRESS[0] in spec.given else ():
        if other in spec.given:
            message = f'"{other}" has no effect beside "{ADDRESS[0]}"'
            findings.error("contradiction", join(where, other), message, "keep one", key=True)


def _check_config(stage: Stage, findings: Findings) -> None:
    """Report config fields for vLLM without it, and others with it."""
    spec, config = vllm_of(stage), stage.config
    if spec is None:
        for name in config:
            if name.startswith("vllm_") and name in trl_defaults(stage.method.name):
                message = f'"{name}" has no effect: the trainer samples'
                findings.warn("unused-key", join(stage.at, "config", name), message, WHERE, key=True)
        return
    if config.get("use_transformers_continuous_batching"):
        message = "vLLM samples, not transformers: these exclude one another"
        where = join(stage.at, "config", "use_transformers_continuous_batching")
        findings.error("contradiction", where, message, f"leave it out, or {WHERE}", key=True)
    given = config.get("generation_kwargs")
    for name in given if isinstance(given, Mapping) else ():
        if name not in GENERATION:
            where = join(stage.at, "config", "generation_kwargs", name)
            message = f'"{name}" is not a field of a request to vLLM'
            findings.error(
                "contradiction", where, message, f"there are {listed(sorted(GENERATION))}", key=True
            )
    mode = config.get("vllm_importance_sampling_mode", "sequence_mask")
    corrects = config.get("vllm_importance_sampling_correction", True)
    if config.get("loss_type") == "vespo" and corrects and not str(mode).startswith("token_"):
        message = '"vespo" takes corrections of single tokens where vLLM samples'
        hint = '"vllm_importance_sampling_mode": "token_truncate" or "token_mask"'
        findings.error("contradiction", join(stage.at, "config", "loss_type"), message, hint)


def _refusals(stage: Stage, spec: VLLMSpec, stages: Sequence[Stage]) -> Iterator[tuple[str, str]]:
    """Yield why vLLM cannot sample for `stage`, and a hint."""
    sampling = stage.method.sampling
    if sampling is not None and sampling.opponent is not None:
        yield from _of_opponent(stage, sampling.opponent, spec)
    yield from (_of_plain_server(stage, stages) if spec.is_plain_server else _of_trl(stage))


def _of_opponent(stage: Stage, field: str, spec: VLLMSpec) -> Iterator[tuple[str, str]]:
    """Yield the same for a method that also samples from an opponent, which `field` chooses."""
    opponent = config_of(stage)[field]
    if opponent == "mixture":
        message = (
            'opponent "mixture" mixes policy and reference for each token, and a server gives tokens, not '
            "the distributions that would be mixed"
        )
        yield message, f'"opponent": "ema" or "weight_mixture" is served as an adapter; {OUT}'
    elif not spec.is_plain_server:
        message = (
            f'opponent "{opponent}" is served as an adapter beside the policy, which TRL\'s modes cannot'
        )
        yield message, f'"mode": "server" with "weight_sync": "lora"; {OUT}'


def _of_plain_server(stage: Stage, stages: Sequence[Stage]) -> Iterator[tuple[str, str]]:
    if not stage.adapter.use_lora:
        message = "full fine-tuning changes whole weights, which a plain vLLM server cannot load"
        yield message, f'LoRA, or "weight_sync": "nccl" (TRL\'s own mode, on GPUs); {OUT}'
        return
    if stage.compute.is_sharded or stage.compute.strategy == "deepspeed":
        message = "sharded weights are not gathered for a server before each generation"
        yield message, f'"strategy": "ddp"; {OUT}'
    beyond = _beyond_vllm(stage.adapter.lora)
    if beyond is None and stage.handover is Handover.MERGE:
        beyond = _beyond_vllm(_incoming(stage, stages))
        if beyond is not None:
            message = (
                f'the incoming adapter has "{beyond}": merged with it, the policy is not an adapter any more'
            )
            yield message, OUT
            return
    if beyond is not None:
        yield f'vLLM serves no adapter with "{beyond}"', f"leave it out; {OUT}"


def _of_trl(stage: Stage) -> Iterator[tuple[str, str]]:
    if stage.adapter.use_qlora:
        message = (
            "TRL merges the adapter into the weights that it hands to vLLM, and weights in 4 or 8 bits round "
            "it: another policy would sample"
        )
        yield message, f'"mode": "server" with "weight_sync": "lora", or no "use_qlora"; {OUT}'


def _beyond_vllm(lora: Mapping[str, Any]) -> str | None:
    """Return the setting that makes an adapter unsupported by vLLM."""
    return "init_lora_weights" if takes_from_base(lora) else beyond_low_rank(lora)


def _incoming(stage: Stage, stages: Sequence[Stage]) -> Mapping[str, Any]:
    """Return the settings of the incoming adapter; {} if unknown."""
    before = next((one for one in stages if one.name == stage.parent), None)
    if before is not None:
        return before.adapter.lora
    config = Path(stage.parent) / "adapter_config.json"
    return read_object(config) if is_file(config) else {}
