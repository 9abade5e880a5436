"""Hashes of what a recipe names besides its model and data: files, other models, commits on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptspec.hub.cache import commit
from ptspec.recipe.plan import BASE, Plan
from ptspec.recipe.second_models import second_models
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.recipe.sources import Source
from ptspec.store.content_hashes import Hashes, data_commit


def named_files(plan: Plan, hashes: Hashes) -> dict[str, str]:
    """Return the SHA-256 of each named file: chat template, user functions, judge templates."""
    return {text: hashes.file(text) for text in dict.fromkeys(_files(plan))}


def _files(plan: Plan) -> Iterator[str]:
    if plan.model.template_file is not None:
        yield str(plan.model.template_file)
    signals: list[RewardSpec | JudgeSpec] = [*plan.rewards.values(), *plan.judges.values()]
    for signal in signals:
        file = (signal.function or "").rpartition(":")[0]
        if file:
            yield file
        if isinstance(template := signal.options.get("template"), str):
            yield template


def named_models(plan: Plan, hashes: Hashes) -> dict[str, str]:
    """Return the hash of each model from outside this run: start models, reward models, teachers.

    For a hub model its commit, as far as the local cache knows it.
    """
    stages = {stage.name for stage in plan.stages}
    named = [name for stage in plan.stages for name, _ in stage.comes_from if name != BASE]
    named += [second.path for second in second_models(plan) if second.path != BASE]
    outside = [name for name in dict.fromkeys(named) if name not in stages]
    found = {
        name: hashes.folder(Path(name)) if Path(name).is_dir() else commit(name, None) for name in outside
    }
    return {name: hash for name, hash in found.items() if hash is not None}


def data_commits(plan: Plan) -> dict[str, str]:
    """Return the commits of hub datasets, as far as the local cache knows them."""
    sources = [source for source in plan.data.values() if isinstance(source, Source) and source.hub]
    found = {source.name: data_commit(source) for source in sources}
    return {name: hash for name, hash in found.items() if hash is not None}
