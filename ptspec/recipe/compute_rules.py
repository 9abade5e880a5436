"""What `compute` asks for and a launcher, a method or a set-up does not allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptspec.methods.types import Yields
from ptspec.recipe import vllm_rules
from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.batch_split import PASSES, PER_GENERATION, ROWS, rows_of_a_step, split
from ptspec.recipe.effective_config import trl_defaults
from ptspec.recipe.findings import Findings
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.plan import AnySource, ComputeSpec, Handover, Stage, is_streamed

WHERE = "/compute"
LOCAL, ACCELERATE = "local", "accelerate"
FSDP = "fsdp"


@dataclass(frozen=True)
class Refusal:
    """A key of `compute` that cannot be had, or has no effect: why, and what can."""

    key: str
    message: str
    hint: str
    is_warning: bool = False


def check(
    compute: ComputeSpec, stages: Sequence[Stage], data: Mapping[str, AnySource], findings: Findings
) -> None:
    """Every rule for `compute`, the recipe's and that of each stage."""
    vllm_rules.check(compute, stages, findings)
    _tell(_general(compute), (WHERE,), findings)
    for stage in stages:
        own = join(stage.at, "compute")
        if at(findings.document.value, own) is not None:
            _tell(_general(stage.compute), (own, WHERE), findings)
        if stage.compute.world > 1:
            _tell(_stage(stage, data), (own, WHERE), findings)


def _tell(refusals: Iterator[Refusal], places: Sequence[str], findings: Findings) -> None:
    """Each at the first of `places` that has its key; of a key that none has (its default counts), at the
    last."""
    for refusal in refusals:
        there = [join(place, refusal.key) for place in places]
        where = next((one for one in there if at(findings.document.value, one) is not None), places[-1])
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
    for key in (FSDP, "deepspeed"):
        if getattr(compute, key) is not None and compute.strategy != key:
            message = f'"{key}" holds options of a strategy that is not chosen'
            yield Refusal(key, message, f'"strategy": "{key}", or leave it out')


def _stage(stage: Stage, data: Mapping[str, AnySource]) -> Iterator[Refusal]:
    """What several processes cannot do together in `stage`."""
    if stage.method.online and stage.data in data and is_streamed(data, stage.data):
        message = f'stage "{stage.name}" streams its prompts, which {stage.method.name} reads in one process'
        yield Refusal("processes", message, 'leave "streaming" out, or "compute": {"launcher": "local", …}')
    yield from _rows(stage)
    if stage.compute.strategy == FSDP and (why := _unsharded(stage)) is not None:
        yield Refusal("strategy", f'stage "{stage.name}": {why}', '"strategy": "ddp"')


def _rows(stage: Stage) -> Iterator[Refusal]:
    """Rows of a step that the processes cannot share evenly."""
    config = {**trl_defaults(stage.method.name), **stage.method.defaults, **stage.config}
    world = stage.compute.world
    if not stage.compute.keep_effective_batch or split(config, world) is not None:
        return
    given = [f"{name} {config[name]}" for name in (ROWS, PASSES, PER_GENERATION) if config.get(name)]
    message = (
        f'stage "{stage.name}" takes {rows_of_a_step(config)} rows a step ({", ".join(given)}), which '
        f"{world} processes cannot share evenly"
    )
    yield Refusal("processes", message, f'a multiple of {world}, or "keep_effective_batch": false')


def _unsharded(stage: Stage) -> str | None:
    """Why the weights of `stage` cannot be sharded; None where they can."""
    config: Mapping[str, Any] = stage.config
    refusals = {
        "the frozen half of a stacked adapter is held by a gradient hook, which sharded weights never call": (
            stage.handover is Handover.STACK or takes_from_base(stage.adapter.lora)
        ),
        "a merge reads whole weights when it saves": stage.handover is Handover.MERGE,
        "weights in 4 or 8 bits are not sharded": stage.adapter.use_qlora,
        "opponents that are mixed or averaged weights need them whole": (
            config.get("opponent", "mixture") != "mixture"
        ),
        "the head of a reward model over LoRA is saved whole": (
            stage.method.yields is Yields.REWARD_MODEL and stage.adapter.use_lora
        ),
    }
    return next((why for why, holds in refusals.items() if holds), None)
