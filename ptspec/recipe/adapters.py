"""The adapter of a stage, and what becomes of the one that comes in. Knows settings, not weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptspec.methods.types import Method, Yields
from ptspec.recipe.findings import Findings
from ptspec.recipe.names import Chain
from ptspec.recipe.plan import BASE, AdapterSpec, Handover
from ptspec.recipe.text import join

Value = dict[str, Any]

_SWITCHES = ("use_lora", "use_qlora", "quantization")


def adapter_spec(common: Value, own: Value | None, at: str, findings: Findings) -> AdapterSpec:
    """The recipe's adapter with the stage's overrides."""
    merged = {**common, **(own or {})}
    where = "/adapter" if own is None else join(at, "adapter")
    use_lora, use_qlora = bool(merged.get("use_lora", False)), bool(merged.get("use_qlora", False))
    if use_qlora and not use_lora:
        place = join(where, "use_qlora") if "use_qlora" in (own if own is not None else common) else where
        message = '"use_qlora" is true but "use_lora" is not: QLoRA is LoRA over a 4-bit base'
        findings.error("contradiction", place, message, 'set "use_lora": true')
    quantization = merged.get("quantization", {})
    if quantization and not use_qlora and "quantization" in (own or common):
        findings.warn(
            "unused-key",
            join(where, "quantization"),
            '"quantization" has no effect without use_qlora',
            key=True,
        )
    lora = {key: value for key, value in merged.items() if key not in _SWITCHES}
    return AdapterSpec(
        use_lora, use_qlora, lora if use_lora else {}, quantization if use_qlora else {}, where
    )


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
    asked = Handover(given["handover"]) if given.get("handover") else None
    incoming = _incoming(parent, chain)
    if incoming is None:
        if asked and not _may_bring_adapter(parent, chain):
            message = f'"handover" is given, but no adapter comes in from "{parent}"'
            findings.error("no-adapter", join(at, "handover"), message, "leave it out", key=True)
        return asked
    fits = _fits(incoming, own, parent, chain)
    if asked is not None:
        _check_handover(name, asked, own, fits, at, findings)
        return asked
    if method.yields is Yields.REWARD_MODEL or not own.use_lora:
        return Handover.MERGE
    if fits:
        return Handover.CONTINUE
    return Handover.STACK if own.use_qlora else Handover.MERGE


def _may_bring_adapter(parent: str, chain: Chain) -> bool:
    """Whether what comes from `parent` is not known here: a faulty stage, or a repository on the hub."""
    if parent in chain.before:
        return parent not in chain.done
    return parent != BASE and not Path(parent).is_dir()


def _check_handover(
    name: str, asked: Handover, own: AdapterSpec, fits: bool, at: str, findings: Findings
) -> None:
    where = join(at, "handover")
    if asked is not Handover.MERGE and not own.use_lora:
        message = f'"{asked.value}" needs an adapter to train, and stage "{name}" has use_lora false'
        findings.error("handover-mismatch", where, message, 'use "merge", or set "use_lora": true')
    elif asked is Handover.CONTINUE and not fits:
        message = f'stage "{name}" cannot continue the incoming adapter: its adapter settings are different'
        findings.error("handover-mismatch", where, message, 'give the same settings, or use "merge"')


def _incoming(parent: str, chain: Chain) -> AdapterSpec | None:
    """The adapter that comes in, as far as it is known without a model."""
    if parent in chain.done:
        before = chain.done[parent].adapter
        return before if before.use_lora else None
    config = Path(parent) / "adapter_config.json"
    try:
        loaded = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return AdapterSpec(True, lora=loaded if isinstance(loaded, dict) else {})


def _fits(incoming: AdapterSpec, own: AdapterSpec, parent: str, chain: Chain) -> bool:
    """Whether the incoming adapter is one that this stage's settings would make."""
    if parent not in chain.done:
        # A saved config spells out every field, and module names where a recipe says "all-linear".
        fields = {key: value for key, value in own.lora.items() if value != "all-linear"}
        return own.use_lora and all(incoming.lora.get(key) == value for key, value in fields.items())
    # A stacked adapter has the rank of both its parts.
    stacked = chain.done[parent].handover is Handover.STACK
    return (
        not stacked
        and incoming.lora == own.lora
        and (incoming.use_qlora, incoming.quantization)
        == (
            own.use_qlora,
            own.quantization,
        )
    )
