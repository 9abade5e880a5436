"""Check `compute` against launcher, method and settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ptspec.methods.types import Yields
from ptspec.recipe import vllm_rules
from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.batch_split import PASSES, PER_GENERATION, ROWS, rows_of_a_step, split
from ptspec.recipe.effective_config import config_of
from ptspec.recipe.findings import Findings
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import ComputeSpec, EvaluationSpec, Handover, Stage

WHERE = "/compute"
LOCAL, ACCELERATE, RAY = "local", "accelerate", "ray"
FSDP, DEEPSPEED = "fsdp", "deepspeed"
OF_STAGE_3 = ("offload_param", "sub_group_size", "zero_hpz_partition_size", "zero_quantized_weights")
"""Options of ZeRO-3 only, besides those with "stage3" in their name."""


class Refusal(NamedTuple):
    """A key of `compute`, or a path below it, that is unsupported or has no effect: reason and hint."""

    key: str
    message: str
    hint: str
    is_warning: bool = False


ONE_CLUSTER = Refusal("ray", "a run uses one Ray cluster, and its stages name several", "one address for all")


def check(
    compute: ComputeSpec, stages: Sequence[Stage], evaluation: EvaluationSpec | None, findings: Findings
) -> None:
    """Report the errors of `compute`, the recipe's and each stage's."""
    vllm_rules.check(compute, stages, evaluation, findings)
    _tell(_general(compute), (WHERE,), findings)
    addresses = [_address(one) for one in (compute, *(s.compute for s in stages)) if one.launcher == RAY]
    for stage in stages:
        own = join(stage.at, "compute")
        if findings.given(own) is not None:
            _tell(_general(stage.compute), (own, WHERE), findings)
            if stage.compute.launcher == RAY and _address(stage.compute) != addresses[0]:
                _tell(iter([ONE_CLUSTER]), (own, WHERE), findings)
        if stage.compute.world > 1 and stage.merge is None:
            _tell(_stage(stage), (own, WHERE), findings)
        if stage.compute.zero_stage == 3:
            _reentrant(stage, findings)


def _tell(refusals: Iterator[Refusal], places: Sequence[str], findings: Findings) -> None:
    """Report each at the first of `places` with its key, or at the last if none has it (a default)."""
    for refusal in refusals:
        there = [join(place, *refusal.key.split("/")) for place in places]
        where = next((one for one in there if findings.given(one) is not None), places[-1])
        if refusal.is_warning:
            findings.warn("unused-key", where, refusal.message, refusal.hint, key=True)
        else:
            findings.error("contradiction", where, refusal.message, refusal.hint)


def _general(compute: ComputeSpec) -> Iterator[Refusal]:
    if compute.launcher == LOCAL and compute.world > 1:
        key = "processes" if compute.processes > 1 else "nodes"
        message = f'{compute.world} processes need a launcher, and "local" is one process'
        yield Refusal(key, message, f'"launcher": "{ACCELERATE}"')
    if compute.strategy is not None and compute.world == 1:
        message = '"strategy" has no effect in one process'
        yield Refusal("strategy", message, f'"launcher": "{ACCELERATE}", "processes": …', is_warning=True)
    yield from _ray(compute)
    for key in (FSDP, DEEPSPEED):
        if getattr(compute, key) is not None and compute.strategy != key:
            message = f'"{key}" holds options of a strategy that is not chosen'
            yield Refusal(key, message, f'"strategy": "{key}", or leave it out')
    if compute.zero_stage == 2:
        yield from _of_stage_3(compute)


def _of_stage_3(compute: ComputeSpec) -> Iterator[Refusal]:
    """Yield options that DeepSpeed accepts and ignores in ZeRO-2."""
    for key in (compute.deepspeed or {}).get("zero_optimization", {}):
        if key.startswith("stage3_") or key in OF_STAGE_3:
            where = f"deepspeed/zero_optimization/{key}"
            yield Refusal(where, f'"{key}" has no effect in ZeRO-2', '"stage": 3, or leave it out', True)


def _ray(compute: ComputeSpec) -> Iterator[Refusal]:
    if compute.ray is None:
        return
    if compute.launcher != RAY:
        message = '"ray" holds options of a launcher that is not chosen'
        yield Refusal("ray", message, f'"launcher": "{RAY}", or leave it out')
    if (address := _address(compute) or "").startswith("ray://"):
        message = f"{address} is the address of Ray Client, and pt run is a process of the cluster itself"
        yield Refusal("ray/address", message, 'start pt run on a node, with "auto" or HOST:6379')
    asked = compute.ray.get("resources_per_worker")
    if asked is not None and not any(asked.values()):
        message = "each worker takes something of the cluster, by which Ray places it"
        yield Refusal("ray/resources_per_worker", message, '{"CPU": 1}')


def _address(compute: ComputeSpec) -> str | None:
    return None if compute.ray is None else compute.ray.get("address")


def _stage(stage: Stage) -> Iterator[Refusal]:
    """Yield what several processes cannot do in `stage`."""
    yield from _rows(stage)
    if stage.compute.engine is not None and (why := _refused(stage)) is not None:
        yield Refusal("strategy", f'stage "{stage.name}": {why}', '"strategy": "ddp"')


def _rows(stage: Stage) -> Iterator[Refusal]:
    """Yield step sizes that the processes cannot split evenly."""
    config = config_of(stage)
    world = stage.compute.world
    if not stage.compute.keep_effective_batch or split(config, world) is not None:
        return
    given = [f"{name} {config[name]}" for name in (ROWS, PASSES, PER_GENERATION) if config.get(name)]
    message = (
        f'stage "{stage.name}" takes {rows_of_a_step(config)} rows a step ({", ".join(given)}), which '
        f"{world} processes cannot share evenly"
    )
    yield Refusal("processes", message, f'a multiple of {world}, or "keep_effective_batch": false')


def _reentrant(stage: Stage, findings: Findings) -> None:
    """Yield settings that TRL overrides for LoRA under ZeRO-3."""
    where = join(stage.at, "config", "gradient_checkpointing_kwargs", "use_reentrant")
    if stage.adapter.use_lora and findings.given(where) is False:
        why = "LoRA under ZeRO-3 needs reentrant gradient checkpointing, which TRL sets"
        message = f'"use_reentrant" has no effect: {why}'
        findings.warn("unused-key", where, message, "leave it out", key=True)


def _refused(stage: Stage) -> str | None:
    """Return why the engine cannot shard `stage`; None if it can."""
    compute = stage.compute
    shown = f"ZeRO-{compute.zero_stage}" if compute.zero_stage is not None else "FSDP"
    has_frozen_half = stage.handover is Handover.STACK or takes_from_base(stage.adapter.lora)
    is_averaged = stage.config.get("opponent", "mixture") != "mixture"
    is_adapter_of_rewards = stage.method.yields is Yields.REWARD_MODEL and stage.adapter.use_lora
    refusals = {
        "the frozen half of a stacked adapter is held by a gradient hook, which sharded weights never call": (
            has_frozen_half and compute.engine == FSDP
        ),
        "the frozen half of a stacked adapter is put back after each step, and DeepSpeed's optimizer goes on "
        "from weights of its own": has_frozen_half and compute.engine == DEEPSPEED,
        "a merge reads whole weights when it saves": stage.handover is Handover.MERGE and compute.is_sharded,
        "weights in 4 or 8 bits are not sharded": stage.adapter.use_qlora and compute.is_sharded,
        "opponents that are mixed or averaged weights need them whole": is_averaged and compute.is_sharded,
        "an average of weights is kept of those that DeepSpeed's optimizer shards": (
            stage.config.get("opponent") == "ema" and compute.engine == DEEPSPEED
        ),
        "the head of a reward model over LoRA is saved whole": is_adapter_of_rewards and compute.is_sharded,
    }
    why = next((why for why, holds in refusals.items() if holds), None)
    return None if why is None else f"{why} ({shown})"


def allows_strategy(stage: Stage) -> bool:
    """Return whether `stage` supports the strategy of its `compute`."""
    return stage.compute.engine is None or _refused(stage) is None
