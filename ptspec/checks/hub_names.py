"""The hub ids of a plan: models and data sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ptspec.checks.template import at_model
from ptspec.diagnostics import Diagnostic, Unchecked
from ptspec.recipe.json_object import read_object
from ptspec.recipe.paths import exists
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.recipe.second_models import second_models
from ptspec.recipe.sources import Source, parts_of


@dataclass(frozen=True)
class HubChecked:
    """The plan with what is known of its model, the diagnostics, and what was not checked."""

    plan: Plan
    diagnostics: tuple[Diagnostic, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()


class HubName(NamedTuple):
    """A repository and the pointer of its id in the recipe. `is_base`: the recipe's base model."""

    name: str
    revision: str | None
    at: str
    is_base: bool = False


def models(plan: Plan) -> list[HubName]:
    """Return the base model, stages' start models, reward models, teachers, and bases of local adapters."""
    found: list[HubName] = []
    if plan.model.path and not plan.model.local:
        found.append(HubName(plan.model.path, plan.model.revision, at_model(plan), is_base=True))
    stages = {BASE, *(stage.name for stage in plan.stages)}
    named: list[tuple[str, str | None, str]]
    named = [(name, None, at) for stage in plan.stages for name, at in stage.comes_from]
    named += [(second.path, second.revision, second.at) for second in second_models(plan)]
    for path, revision, at in named:
        if path in stages:
            continue
        folder = plan.places.find(path)
        name = HubName(path, revision, at) if folder is None else _below(folder, at)
        if name is not None and name.name != plan.model.path and plan.places.hub_id(name.name):
            found.append(name)
    return found


def _below(folder: Path, at: str) -> HubName | None:
    """Return the hub model that the adapter in `folder` was trained on."""
    from ptspec.store.stage_folder import ADAPTER_CONFIG

    config = read_object(folder / ADAPTER_CONFIG)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or exists(Path(base)):
        return None
    return HubName(base, revision if isinstance(revision, str) else None, at)


def sources(plan: Plan) -> list[Source]:
    """Return the hub sources that a stage or the evaluation reads."""
    used = _used_by(plan.trained)
    if plan.evaluation is not None:
        used.append(plan.evaluation.data)
    return list(_on_hub(plan, used))


def unfinished_sources(plan: Plan) -> frozenset[str]:
    """Return the names of sources read by stages that are not finished in the run's folder."""
    from ptspec.store.stage_folder import finished_record

    stages = [stage for stage in plan.trained if finished_record(plan.output, stage.name) is None]
    return frozenset(source.name for source in _on_hub(plan, _used_by(stages)))


def _used_by(stages: Sequence[Stage]) -> list[str]:
    names = (name for stage in stages for name in (stage.data, stage.eval_data))
    return [name for name in names if name is not None]


def _on_hub(plan: Plan, names: list[str]) -> Iterator[Source]:
    for name in dict.fromkeys(part for one in names for part in parts_of(plan.data, one)):
        source = plan.data[name]
        if isinstance(source, Source) and source.hub is not None:
            yield source
