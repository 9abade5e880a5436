"""Resolve a stage that is a weighted sum of other policies, and check that the sum exists.

Adapters over the same weights sum to one adapter; full weights of one shape to full weights, if the factors
sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.methods import trains_reward_model
from ptspec.methods.merge import MERGE
from ptspec.recipe import sections
from ptspec.recipe.adapter_rules import takes_from_base
from ptspec.recipe.adapter_settings import default_of
from ptspec.recipe.findings import Findings
from ptspec.recipe.handovers import beyond_low_rank, incoming_settings, saves_weights
from ptspec.recipe.hints import listed
from ptspec.recipe.json_object import read_object
from ptspec.recipe.json_pointer import join
from ptspec.recipe.merge_spec import MergePart, MergeSpec
from ptspec.recipe.names import Chain
from ptspec.recipe.outside import outside
from ptspec.recipe.paths import Places, is_file
from ptspec.recipe.plan import BASE, AdapterSpec, Handover, ModelSpec, Stage

Value = dict[str, Any]

TAKES = ("name", "method", "of", "compute", "checks", "$comment")
WHY_NOT = {
    "from": 'what it is made of stands in "of"',
    "data": "it trains on no rows; what comes out is measured on those of /eval",
    "eval_data": "it trains on nothing that could be measured meanwhile",
    "config": "it has no trainer",
    "adapter": "it has the ranks of its parts together",
    "handover": "no adapter comes in that it would train",
    "rewards": "it samples nothing to be paid",
    "teacher": "it learns from none",
    "judge": "it samples nothing to be judged",
    "matrix": "its weights are tried as several stages, each with a name",
    "pick": "there are no variants to pick from",
}
TOLERANCE = 1e-5
"""Tolerance of the sum of decimal weights around 1."""


@dataclass(frozen=True)
class Standing:
    """What a part is: an adapter over `weights`, or full weights. `adapter`: its settings."""

    part: MergePart
    weights: str
    adapter: AdapterSpec | None
    rank: int = 0


def merged(
    name: str,
    given: Value,
    at: str,
    compute: Value,
    model: ModelSpec | None,
    chain: Chain,
    places: Places,
    findings: Findings,
) -> Stage | None:
    """Return the merge of a stage; None, with errors reported, if it is invalid."""
    _check_keys(findings.given(at) or given, at, findings)
    parts = list(_parts(name, given.get("of") or {}, join(at, "of"), chain, places, findings))
    if len(parts) < len(findings.given(join(at, "of")) or ()) or not _are_several(name, parts, at, findings):
        return None
    found = [_standing(part, model, chain) for part in parts]
    adapters = [one for one in found if one.adapter is not None]
    is_sum = _is_sum_of_adapters(name, found, adapters, model, at, findings)
    if is_sum is None:
        return None
    return Stage(
        name=name,
        method=MERGE,
        parent=parts[0].name,
        handover=None,
        data="",
        adapter=_adapter(adapters, at) if is_sum else AdapterSpec(False, at=at),
        compute=sections.compute(compute, given.get("compute")),
        merge=MergeSpec(tuple(parts), of_adapters=is_sum),
        at=at,
    )


def _check_keys(given: Value, at: str, findings: Findings) -> None:
    for key in given:
        if key not in TAKES and key in WHY_NOT:
            message = f'"{key}" is not a key of a merge: {WHY_NOT[key]}'
            findings.error("unknown-key", join(at, key), message, "leave it out", key=True)


def _parts(
    name: str, of: Mapping[str, Any], at: str, chain: Chain, places: Places, findings: Findings
) -> Iterator[MergePart]:
    """Return the valid parts; report an error for each other one."""
    for text, weight in of.items():
        where = join(at, text)
        if weight == 0:
            message = f'"{text}" counts 0 times: it is not a part of "{name}"'
            findings.error("merge-weights", where, message, "leave it out, or give it a weight")
        elif (found := _named(name, text, where, chain, places, findings)) is not None:
            yield MergePart(found, float(weight), where)


def _named(name: str, text: str, where: str, chain: Chain, places: Places, findings: Findings) -> str | None:
    if text == BASE:
        return BASE
    if text in chain.without_pick:
        message = f'"{text}" has a matrix and no "pick": it hands nothing on that could be a part'
        hint = f'"pick": {{"metric": …}} in "{text}", or one of its variants: "{text}.1"'
        findings.error("matrix-without-pick", where, message, hint, key=True)
        return None
    if text in chain.before:
        if trains_reward_model(chain.methods.get(text)):
            message = f'"{text}" trains a reward model, and a merge is of policies'
            hint = "stages that yield a policy: " + (listed(chain.policies(name)) or "none")
            findings.error("not-a-policy", where, message, hint, key=True)
            return None
        return text if text in chain.done else None
    if text == name or text in chain.methods:
        what = "itself" if text == name else f'"{text}", which comes later'
        hint = f"stages before it: {listed(chain.before)}" if chain.before else "put it after its parts"
        findings.error("unknown-stage", where, f'stage "{name}" merges {what}', hint, key=True)
        return None
    return outside(f'stage "{name}" merges "{text}"', text, where, chain, places, findings, key=True)


def _are_several(name: str, parts: Sequence[MergePart], at: str, findings: Findings) -> bool:
    if len(parts) == 1:
        message = f'stage "{name}" merges one policy: it would be "{parts[0].name}" under another name'
        hint = f'a second part, "{BASE}" too: {{"{parts[0].name}": 0.5, "{BASE}": 0.5}}'
        findings.error("merge-of-one", join(at, "of"), message, hint, key=True)
    elif len({part.name for part in parts}) < len(parts):
        message = f'two parts of stage "{name}" are the same folder'
        findings.error("merge-of-one", join(at, "of"), message, "add up their weights", key=True)
        return False
    return len(parts) > 1


def _standing(part: MergePart, model: ModelSpec | None, chain: Chain) -> Standing:
    adapter = incoming_settings(part.name, chain)
    weights = _weights(part.name, model, chain)
    return Standing(part, weights, adapter, _rank(part.name, adapter, chain) if adapter else 0)


def _weights(name: str, model: ModelSpec | None, chain: Chain) -> str:
    """Return the weights below the policy `name`: a stage with full weights, the base, or a folder."""
    while name in chain.done:
        stage = chain.done[name]
        if not stage.adapter.use_lora or saves_weights(stage, chain):
            return name
        name = _below_merge(stage, model, chain) if stage.merge is not None else stage.parent
    config = Path(name) / "adapter_config.json"
    if name == BASE or not is_file(config):
        return name
    below = str(read_object(config).get("base_model_name_or_path") or "")
    is_base = model is not None and (
        below == model.path or Path(below).resolve() == Path(model.path).resolve()
    )
    return BASE if is_base else below


def _below_merge(stage: Stage, model: ModelSpec | None, chain: Chain) -> str:
    """Return the weights below the adapters that `stage` sums."""
    assert stage.merge is not None
    parts = (part.name for part in stage.merge.parts)
    return _weights(next(one for one in parts if incoming_settings(one, chain)), model, chain)


def _rank(name: str, adapter: AdapterSpec, chain: Chain) -> int:
    """Return the rank of the adapter of the policy `name`."""
    lora = adapter.lora
    rank = max([lora.get("r") or default_of("r"), *(lora.get("rank_pattern") or {}).values()])
    stage = chain.done.get(name)
    if stage is None or stage.merge is not None:
        return int(rank)
    own = int(rank) * (2 if takes_from_base(lora) else 1)
    below = incoming_settings(stage.parent, chain)
    if below is None or stage.handover not in (Handover.MERGE, Handover.STACK):
        return own
    return own + _rank(stage.parent, below, chain)


def _is_sum_of_adapters(
    name: str,
    found: Sequence[Standing],
    adapters: Sequence[Standing],
    model: ModelSpec | None,
    at: str,
    findings: Findings,
) -> bool | None:
    """Return whether the merge is a sum of adapters or a mean of full weights; None if neither."""
    where = join(at, "of")
    if not adapters:
        return False if _count_as_one(found, where, findings) else None
    below = adapters[0].weights
    for one in found:
        named = f'"{one.part.name}"'
        if one.adapter is None and one.weights != below:
            message = (
                f'{named} has full weights and "{adapters[0].part.name}" is an adapter: they do not add up'
            )
            hint = (
                f'"{below}", on which the adapter stands, can be a part; pt export makes full weights of it'
            )
            findings.error("merge-mixed", one.part.at, message, hint, key=True)
            return None
        if one.weights != below:
            message = f'{named} stands on "{one.weights}", and "{adapters[0].part.name}" on "{below}"'
            hint = "adapters add up over the same weights; pt export makes full weights of each"
            findings.error("merge-mixed", one.part.at, message, hint, key=True)
            return None
    if any(one.adapter is None for one in found) and not _count_as_one(found, where, findings):
        return None
    return True if _add_up(name, adapters, model, findings) else None


def _count_as_one(found: Sequence[Standing], where: str, findings: Findings) -> bool:
    """Report full weights whose factors do not sum to 1, which would scale them."""
    total = math.fsum(one.part.weight for one in found)
    if abs(total - 1) <= TOLERANCE:
        return True
    hint = "parts of full weights count once in all"
    if total > 0:
        shares = (f'"{one.part.name}": {one.part.weight / total:.6g}' for one in found)
        hint = f"{{{', '.join(shares)}}}"
    message = f"the weights add up to {total:g}, and of full weights they have to add up to 1"
    findings.error("merge-weights", where, message, hint, key=True)
    return False


def _add_up(name: str, adapters: Sequence[Standing], model: ModelSpec | None, findings: Findings) -> bool:
    """Return whether the sum of these adapters is an adapter over the same weights."""
    first = _most_known(adapters)
    for one in adapters:
        assert one.adapter is not None
        extra = beyond_low_rank(one.adapter.lora)
        if extra is None and one.adapter.lora.get("peft_type", "LORA") != "LORA":
            extra = str(one.adapter.lora["peft_type"])
        if extra is None and model is not None and model.additional_special_tokens:
            extra = "additional_special_tokens"
        if extra is not None:
            message = f'"{one.part.name}" is more than a low-rank sum, by "{extra}": it cannot be a part'
            hint = "pt export makes full weights of each part, which can be merged"
            findings.error("cannot-merge", one.part.at, message, hint, key=True)
            return False
        precision = (one.adapter.use_qlora, dict(one.adapter.quantization))
        if not _is_outside(one) and precision != (first.use_qlora, dict(first.quantization)):
            message = f'"{one.part.name}" and "{adapters[0].part.name}" stand on weights of other precision'
            hint = 'the same "use_qlora" and "quantization" in both'
            findings.error("another-precision", one.part.at, message, hint, key=True)
            return False
    return True


def _adapter(adapters: Sequence[Standing], at: str) -> AdapterSpec:
    """Return the settings of the sum: one plain adapter of all ranks with scaling 1."""
    known, precise = [one.adapter for one in adapters if one.adapter is not None], _most_known(adapters)
    rank = sum(one.rank for one in adapters)
    targets = [spec.lora.get("target_modules") for spec in known]
    lora: Value = {"r": rank, "lora_alpha": rank}
    if all(isinstance(one, list) for one in targets):
        lora["target_modules"] = sorted({module for one in targets for module in one or ()})
    elif targets and targets[0] is not None:
        lora["target_modules"] = targets[0]
    return AdapterSpec(True, precise.use_qlora, lora, precise.quantization, at)


def _is_outside(one: Standing) -> bool:
    """Return whether an adapter is from outside the recipe: its config lacks the base's precision."""
    return is_file(Path(one.part.name) / "adapter_config.json")


def _most_known(adapters: Sequence[Standing]) -> AdapterSpec:
    """Return the settings of the first adapter that a stage makes, else of the first."""
    first = next((one for one in adapters if not _is_outside(one)), adapters[0])
    assert first.adapter is not None
    return first.adapter
