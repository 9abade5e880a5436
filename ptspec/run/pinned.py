"""Pin the hub names of a recipe to one commit for the whole run.

What a later stage loads again is then what the fingerprints cover.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ptspec.hub.arrow_cache import cached_commit
from ptspec.hub.cache import DATASET, is_commit
from ptspec.hub.connection import obstacle
from ptspec.hub.repository import look
from ptspec.model.hub import must_be_loadable
from ptspec.recipe.plan import ModelSpec, Plan
from ptspec.recipe.sources import Source


def pinned(plan: Plan) -> Plan:
    """Return `plan` with its hub model and sources at their current commits.

    As the hub says, or the caches if it cannot be reached. Raises `InputError` for a model that is in
    neither.
    """
    return replace(with_pinned_data(plan), model=_model(plan.model))


def with_pinned_data(plan: Plan) -> Plan:
    """Return `plan` with its hub sources at the commits in the run's fingerprints."""
    data = {name: _source(one) if isinstance(one, Source) else one for name, one in plan.data.items()}
    return replace(plan, data=data)


def _model(spec: ModelSpec) -> ModelSpec:
    if spec.local:
        return spec
    from huggingface_hub import hf_hub_download

    must_be_loadable(spec.path, spec.revision, spec.at)
    try:
        # Request it by branch: the cache then maps the branch to the commit, also offline.
        file = hf_hub_download(spec.path, "config.json", revision=spec.revision)
    except Exception:  # network and server errors of various libraries: loading reports them
        return spec
    return replace(spec, revision=Path(file).parent.name)


def _source(source: Source) -> Source:
    if source.hub is None or (source.revision is not None and is_commit(source.revision)):
        return source
    commit = None
    if obstacle(DATASET) is None:
        try:
            commit = look(source.hub, source.revision, DATASET).commit
        except Exception:  # as above: loading reports them
            commit = None
    return replace(source, revision=commit or source.revision or cached_commit(source.hub))
