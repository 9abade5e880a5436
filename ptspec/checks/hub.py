"""Check what a recipe names on the hub before anything starts, and name what could not be checked.

The local caches come first, then the hub, if it can be reached. For a recipe without hub ids neither this
module nor huggingface_hub is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from ptspec.checks.hub_names import HubChecked, HubName, models, sources, unfinished_sources
from ptspec.checks.hub_rows import check_rows
from ptspec.data.readers.hub_rows import Preview, Wrong, is_cached, preview
from ptspec.diagnostics import Diagnostic, Severity, Unchecked
from ptspec.hub.cache import DATASET, MODEL
from ptspec.hub.connection import obstacle, reason, together
from ptspec.hub.repository import Refusal, Refused, look
from ptspec.library_output import quiet_environment
from ptspec.model.hub import cached_config, cached_model, fetched_model, unreachable
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.plan import HubModel, Plan
from ptspec.recipe.sources import Source

BUDGET = 8.0
"""Time limit for all requests, in seconds."""


@dataclass(frozen=True)
class _Found:
    model: HubModel | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()


def check_hub(plan: Plan, *, starts: bool) -> HubChecked:
    """Check every hub id of `plan`. If a run `starts`, an id that cannot be loaded is an error."""
    tasks: dict[HubName, Callable[[], _Found]] = {
        name: partial(_model, plan, name, starts=starts) for name in models(plan)
    }
    needed = unfinished_sources(plan) if starts else frozenset()
    for source in sources(plan):
        name = HubName(source.hub or "", source.revision, join(source.at, "path"))
        tasks[name] = partial(_source, plan, source, name, starts=source.name in needed)
    quiet_environment()
    found = {
        name: _unreached(name, reason(one)) if isinstance(one, Exception) else one
        for name, one in together(tasks, BUDGET).items()
    }
    seen = next((one.model for name, one in found.items() if name.is_base), None)
    return HubChecked(
        plan if seen is None else replace(plan, model=replace(plan.model, hub=seen)),
        tuple(diagnostic for one in found.values() for diagnostic in one.diagnostics),
        tuple(dict.fromkeys(unchecked for one in found.values() for unchecked in one.unchecked)),
    )


def _model(plan: Plan, name: HubName, *, starts: bool) -> _Found:
    cached = cached_model(name.name, name.revision)
    if cached is not None:
        return _Found(cached)
    if (why := obstacle(MODEL)) is not None:
        told = [unreachable(name.name, why, name.at)] if starts else _nearest(plan, name)
        return replace(_unreached(name, why, *told), model=cached_config(name.name, name.revision))
    try:
        repository = look(name.name, name.revision, MODEL)
        if not {"config.json", "adapter_config.json"} & set(repository.files):
            message = f'"{name.name}" on the hub holds no model: it has no config.json'
            return _Found(diagnostics=(Diagnostic("not-a-model", message, pointer=name.at),))
        model, why = fetched_model(repository) if name.is_base else (None, None)
    except Refused as refused:
        return _refused(plan, name, MODEL, refused, starts=starts)
    except Exception as error:  # network, file and server errors of various libraries
        return _unreached(name, reason(error))
    headers = (Unchecked(f"{name.name} (its weights' shapes)", why, name.at),) if why else ()
    return _Found(model, unchecked=headers)


def _source(plan: Plan, source: Source, name: HubName, *, starts: bool) -> _Found:
    found = preview(source)
    if isinstance(found, Preview):
        return _Found(diagnostics=tuple(check_rows(plan, source, found)))
    if isinstance(found, Refused):
        return _refused(plan, name, DATASET, found, starts=starts)
    if isinstance(found, Wrong):
        given = at(plan.document, source.at)
        where = join(source.at, found.key) if found.key in given else source.at
        return _Found(diagnostics=(Diagnostic(found.code, found.message, None, where, found.hint),))
    is_missing = starts and obstacle(DATASET) is not None and not is_cached(source)
    why = str(found)
    told = [unreachable(name.name, why, name.at, DATASET)] if is_missing else _nearest(plan, name)
    return _unreached(name, why, *told)


def _unreached(name: HubName, why: str, *told: Diagnostic) -> _Found:
    return _Found(diagnostics=told, unchecked=(Unchecked(name.name, why, name.at),))


def _nearest(plan: Plan, name: HubName) -> list[Diagnostic]:
    """Return a hub name close to one that was probably meant for a local path."""
    nearest = plan.places.nearest(name.name)
    if nearest is None:
        return []
    message = f'"{name.name}" is not a file or folder here: it is taken as a name on the hub'
    return [Diagnostic("taken-for-hub", message, None, name.at, nearest, severity=Severity.WARNING)]


def _refused(plan: Plan, name: HubName, kind: str, refused: Refused, *, starts: bool) -> _Found:
    if refused.refusal is Refusal.NO_REVISION:
        message = f'"{name.name}" on the hub has no revision "{name.revision}"'
        pointer = join(name.at.rpartition("/")[0], "revision")
        where = name.at if at(plan.document, pointer) is None else pointer
        return _Found(diagnostics=(Diagnostic("no-such-revision", message, None, where),))
    if refused.refusal is Refusal.NO_REPOSITORY:
        nearest = plan.places.nearest(name.name)
        message = f'the hub has no {kind} "{name.name}", or does not show it to you'
        hint = nearest or "check the id; what is private needs a login: hf auth login"
        return _Found(diagnostics=(Diagnostic("not-on-hub", message, None, name.at, hint),))
    address = f"{'datasets/' if kind == DATASET else ''}{name.name}"
    denied = Diagnostic(
        "no-access",
        f'the hub does not let you read the {kind} "{name.name}": {refused.words}',
        None,
        name.at,
        f"ask for access on its page ({address}), then: hf auth login",
        severity=Severity.ERROR if starts else Severity.WARNING,
    )
    return _Found(diagnostics=(denied,), unchecked=(Unchecked(name.name, "no access", name.at),))
