"""Check a stage's adapter against the model: unknown module names, and what PEFT or TRL refuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptspec.architecture.source import local_constant
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe import targets
from ptspec.recipe.handovers import leaves_a_sum
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_object import read_object
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.shape import ModelShape, is_skipped

NOT_OVER_PARAMETERS = ("lora_dropout", "fan_in_fan_out", "lora_bias", "use_dora")
"""Fields of LoraConfig that PEFT refuses where it wraps a parameter: `lora.layer.ParamWrapper`."""

Refusal = tuple[str, str]
"""What is refused and why, and the hint."""


def check_adapter(plan: Plan, stage: Stage, shape: ModelShape) -> Iterator[Diagnostic]:
    """Yield errors of the adapter that `stage` puts on a model of `shape`."""
    told = list(_modules(plan, stage, shape))
    yield from told
    if any(one.severity is Severity.ERROR for one in told):
        return
    try:
        found = targets.resolve(stage.adapter.lora, shape)
    except targets.UnknownTargets:
        return
    where = _at_field(plan, stage, "target_modules")
    refusals = (
        _not_adaptable(stage, shape),
        _mamba(stage, shape),
        _tuples(found, shape),
        _head(stage, shape),
    )
    for refusal in refusals:
        if refusal is not None:
            message, hint = refusal
            yield Diagnostic("cannot-adapt", message, None, where, hint)
    yield from _quantised(plan, stage, shape)
    experts = [name for name in found.parameters if len(shape.tensors[name].shape) == 3]
    if experts:
        yield from _wrapped(plan, stage, experts[0])
    yield from _no_sum(plan, stage, shape)


def _not_adaptable(stage: Stage, shape: ModelShape) -> Refusal | None:
    """Yield modules that are not torch layers, matched along with others of the same name."""
    others = targets.not_adaptable(stage.adapter.lora, shape)
    if not others or shape.modules is None:
        return None
    kind = shape.modules.class_name(others[0]) or "a block of layers"
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    message = f"the adapter would adapt {others[0]} ({kind}){more}, and PEFT has no LoRA for it"
    return message, f'"target_modules": "{targets.ALL_LINEAR}", or "exclude_modules" with what to leave out'


def _mamba(stage: Stage, shape: ModelShape) -> Refusal | None:
    """Layers of state-space models whose weights are read by a kernel, past LoRA."""
    check = ("peft", "tuners/tuners_utils.py", "_check_lora_target_modules_mamba")
    if shape.model_type not in (local_constant(*check, "mamba_model_types") or ()):
        return None
    last = {name.rpartition(".")[2] for name in targets.meant(stage.adapter.lora, shape)}
    names = listed(f'"{name}"' for name in sorted(last & set(local_constant(*check, "incompatible_modules"))))
    if not names:
        return None
    kind = shape.model_type
    message = f'PEFT refuses LoRA on {names} of a model of type "{kind}": a kernel reads the weight itself'
    return message, f'"exclude_modules": [{names}]'


def _tuples(found: targets.Targets, shape: ModelShape) -> Refusal | None:
    """Linear layers of a model's own whose output is a tuple (Llama 4's router)."""
    if shape.modules is None:
        return None
    name = next((name for name in found.modules if shape.modules.gives_tuple(name)), None)
    if name is None:
        return None
    kind, last = shape.modules.class_name(name), name.rpartition(".")[2]
    return (
        f"the adapter would adapt {name} ({kind}), whose output is a tuple",
        f'"exclude_modules": ["{last}"]',
    )


def _head(stage: Stage, shape: ModelShape) -> Refusal | None:
    """Yield an error for LoRA on the head: TRL multiplies hidden states with its weight directly."""
    if not stage.method.loss.head.is_tiled:
        return None
    head = next((name for name in targets.meant(stage.adapter.lora, shape) if shape.is_head(name)), None)
    if head is None:
        return None
    return (
        f'LoRA on "{head}" would learn nothing: TRL reads its weight itself',
        "leave it out of target_modules",
    )


def _quantised(plan: Plan, stage: Stage, shape: ModelShape) -> Iterator[Diagnostic]:
    """Yield layers that would be quantised and must not be, or an error if none would be."""
    if not stage.adapter.use_qlora or shape.quantised is not None or shape.modules is None:
        return
    skip = stage.adapter.quantization.get("llm_int8_skip_modules")
    heads = list(filter(shape.is_head, shape.all_modules))
    whole = [head for head in heads if is_skipped(head, skip or ())]
    if skip is not None and heads and not whole and stage.method.loss.head.is_tiled:
        where = join(_at_field(plan, stage, "quantization"), "llm_int8_skip_modules")
        message = f'"{heads[0]}" would be quantised, and TRL reads its weight itself: the list has to name it'
        yield Diagnostic("contradiction", message, None, where, f'add "{heads[0]}" to the list')
    elif not shape.quantised_layers(skip):
        kind = next((shape.modules.class_name(name) for name in shape.linear), None) or "none"
        message = (
            f"bitsandbytes quantises no layer of this model (its linear layers are {kind}): it stays whole"
        )
        hint = '"use_qlora": false says the same; pt plan counts whole weights'
        where = _at_field(plan, stage, "use_qlora")
        yield Diagnostic("not-quantised", message, None, where, hint, severity=Severity.WARNING)


def _wrapped(plan: Plan, stage: Stage, name: str) -> Iterator[Diagnostic]:
    """Yield settings that PEFT refuses for LoRA over fused experts."""
    kind = f"the adapter adapts {name}, one tensor of all experts"
    for field in NOT_OVER_PARAMETERS:
        if stage.adapter.lora.get(field):
            hint = f'leave "{field}" out, or name target_modules that are not experts'
            message = f'{kind}, over which PEFT does not support "{field}"'
            yield Diagnostic("cannot-adapt", message, None, _at_field(plan, stage, field), hint)


def _no_sum(plan: Plan, stage: Stage, shape: ModelShape) -> Iterator[Diagnostic]:
    """Yield adapters that `stage` must merge into one and that are not plain updates of linear layers."""
    if not leaves_a_sum(stage.handover, stage.adapter):
        return
    given = join(stage.at, "handover")
    where = stage.at if at(plan.document, given) is None else given
    adapters = (
        ("the adapter", "the incoming one", stage.adapter.lora),
        ("the incoming adapter", "another", _incoming(plan, stage)),
    )
    for name, other, lora in adapters:
        try:
            part = targets.beyond_linear(lora, shape)
        except targets.UnknownTargets:
            continue
        if part is not None:
            what = (
                "an embedding" if targets.is_embedding(part, shape) else "a tensor that is not a linear layer"
            )
            message = f"{name} goes on {part}, {what}, and cannot be added up with {other}"
            hint = '"continue" with the same settings, or target_modules that are linear layers: q_proj, …'
            yield Diagnostic("cannot-adapt", message, None, where, hint)
            return


def _incoming(plan: Plan, stage: Stage) -> Mapping[str, Any]:
    """Return the LoRA fields of the adapter that `stage` starts from."""
    before = plan.stage(stage.parent)
    if before is not None:
        return before.adapter.lora
    from ptspec.store.stage_folder import ADAPTER_CONFIG

    return read_object(Path(stage.parent) / ADAPTER_CONFIG)


def _modules(plan: Plan, stage: Stage, shape: ModelShape) -> Iterator[Diagnostic]:
    """Yield `target_modules` and `modules_to_save` that match no module; PEFT ignores them."""
    lora, where = stage.adapter.lora, _at_field(plan, stage, "target_modules")
    given = lora.get("target_modules")
    names = ", ".join(targets.suggestions(shape))
    try:
        found = bool(targets.targeted(lora, shape)) or "target_parameters" in lora
    except targets.UnknownTargets as error:
        if "target_parameters" not in lora:
            yield Diagnostic("no-such-module", str(error), None, where, f'"all-linear", or of: {names}')
        return
    missing = targets.unmatched(given, shape)
    if not found and not missing:
        message = f"{_quoted(given)} means no module of this model: nothing would be trained"
        yield Diagnostic("no-such-module", message, None, where, f"linear layers: {names}")
    for name in missing:
        severity = Severity.WARNING if found else Severity.ERROR
        yield _no_module(name, join(where, given.index(name)) if given else where, shape, severity)
    whole = lora.get("modules_to_save")
    for name in targets.unmatched(list(whole) if isinstance(whole, list) else None, shape):
        place = join(_at_field(plan, stage, "modules_to_save"), whole.index(name)) if whole else where
        yield _no_module(name, place, shape, Severity.WARNING)


def _no_module(name: str, where: str, shape: ModelShape, severity: Severity) -> Diagnostic:
    known = targets.suggestions(shape)
    hint = did_you_mean(name, known) or f"linear layers: {listed(known, 24)}"
    message = f'no module of this model is called "{name}"'
    return Diagnostic("no-such-module", message, None, where, hint, severity=severity)


def _at_field(plan: Plan, stage: Stage, field: str) -> str:
    """Return the pointer of an adapter field: in the stage's own adapter, or in the recipe's."""
    for adapter in (join(stage.at, "adapter"), "/adapter"):
        value = at(plan.document, adapter)
        if isinstance(value, dict) and field in value:
            return join(adapter, field)
    return stage.adapter.at


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
