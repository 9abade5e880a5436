"""Resolve a command-line path to a run, one of its stages, an adapter or a model. Loads none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.evaluation import store
from ptspec.methods import trains_reward_model
from ptspec.recipe.document import read_document
from ptspec.recipe.findings import Findings
from ptspec.recipe.matrix import expanded_stages
from ptspec.recipe.paths import Places, exists, is_file, is_folder
from ptspec.recipe.plan import BASE, AdapterSpec
from ptspec.recipe.sections import chat_template
from ptspec.store.manifest import MANIFEST, Manifest, open_manifest
from ptspec.store.run_names import is_of_hub, no_such_run, those_in
from ptspec.store.stage_folder import (
    ADAPTER_CONFIG,
    MODEL_CONFIG,
    RECORD,
    Artifact,
    finished_record,
    open_artifact,
)

CHAT_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Target:
    """A policy given to `pt eval`.

    `stored`: the folder of its evaluation, if any; `recipe`: the recipe of its run (empty outside a run), in
    that run's folder `run`, whose stage of the method `method` it is.
    """

    name: str
    model: str
    artifact: Artifact | None
    adapter: AdapterSpec
    stored: Path | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    run: Path | None = None
    is_reward_model: bool = False
    method: str | None = None


def targets(paths: Sequence[str]) -> list[Target]:
    """Return the policies in `paths`: for a run its base and all finished stages, in order.

    Raises `InputError` for a path without a policy.
    """
    return [target for path in paths for target in _targets(path)]


def last_of_each(paths: Sequence[str]) -> list[Target]:
    """Return one policy per path: of a run its last stage. Raises `InputError` as `targets` does."""
    chosen = [_last(path) for path in paths]
    names = [target.name for target in chosen]
    if len(set(names)) == len(names):
        return chosen
    return [replace(target, name=path) for target, path in zip(chosen, paths, strict=True)]


def _last(path: str) -> Target:
    """Return the single policy of `path`. Raises `InputError` for an unfinished run."""
    found = _targets(path)
    asked = [str(stage.get("name")) for stage in expanded_stages(found[-1].recipe.get("stages"))]
    missing = [name for name in asked if name not in [target.name for target in found]]
    if len(found) == 1 or not missing:  # a stage, or a whole run
        return found[-1]
    there = ", ".join(str(Path(path) / target.name) for target in found[1:]) or "none"
    message = (
        f"the run {path} is unfinished: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    )
    raise InputError(
        Diagnostic("unfinished-run", message, Location(path), hint=f"name one of its stages: {there}")
    )


def _targets(path: str) -> list[Target]:
    folder = Path(path)
    if is_file(folder / MANIFEST):
        return _run_targets(folder)
    if is_file(folder.parent / MANIFEST) and is_folder(folder):
        within = {target.name: target for target in _run_targets(folder.parent)}
        if folder.name in within:
            return [within[folder.name]]
    if is_file(folder / ADAPTER_CONFIG):
        artifact = open_artifact(folder)
        return [Target(folder.name, artifact.weights, artifact, AdapterSpec(True), _stored(folder))]
    if is_file(folder / MODEL_CONFIG) or (not exists(folder) and is_of_hub(path)):
        return [Target(folder.name, path, None, AdapterSpec(True), _stored(folder))]
    raise InputError(_not_a_target(path, folder))


def _not_a_target(path: str, folder: Path) -> Diagnostic:
    if not exists(folder):
        return no_such_run(path)
    if any(folder.glob(f"*/{RECORD}")):
        what = f"its {MANIFEST} is missing, though it has finished stages: name one of them"
    elif any(folder.glob(".*.partial")) or (folder / "events.jsonl").exists():
        what = "the run has no finished stage yet"
    else:
        what = "it has no manifest.json (run), adapter_config.json (adapter) or config.json (model)"
    hint = those_in(folder) or "give a run (outputs/NAME), one of its stages, an adapter or a model"
    return Diagnostic("not-a-model", f"{path} cannot be opened: {what}", Location(path), hint=hint)


def _run_targets(run: Path) -> list[Target]:
    manifest = open_manifest(run)
    model, recipe = manifest.model, _with_template(manifest)
    base = Target(BASE, model, None, AdapterSpec(True), _stored(run / BASE), recipe, None, run)
    stages = [name for name in manifest.folders if name != BASE]
    return [base, *(replace(base, **_stage(run, name)) for name in stages)]


def _with_template(manifest: Manifest) -> dict[str, Any]:
    """Return the run's recipe with its chat template as text: the stages' own, or else the file's.

    Raises `InputError` if there is neither.
    """
    recipe = dict(manifest.recipe)
    model = recipe.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("chat_template"), str):
        return recipe
    saved = (manifest.run / name / CHAT_TEMPLATE for name in manifest.folders if name != BASE)
    kept = next((file for file in saved if file.is_file()), None)
    if kept is not None:
        return {**recipe, "model": {**model, "chat_template": kept.read_text("utf-8")}}
    findings = Findings(read_document(manifest.file).within("/recipe"))
    places = Places(manifest.working_directory, manifest.recipe_file.parent)
    text, _ = chat_template(model["chat_template"], places, findings)
    if findings.diagnostics:
        raise InputError(*findings.diagnostics)
    return {**recipe, "model": {**model, "chat_template": text}}


def _stage(run: Path, name: str) -> dict[str, Any]:
    """Return a stage's target. Raises `InputError` if its folder is incomplete."""
    record = finished_record(run, name)
    if record is None or not any((run / name).glob("*.safetensors")):
        missing = RECORD if record is None else "*.safetensors"
        message = f"the stage {name} of {run} is not whole: there is no {missing} in it"
        hint = "pt run with the run's recipe makes it again"
        raise InputError(Diagnostic("half-a-run", message, Location(str(run / name)), hint=hint))
    return {
        "name": name,
        "artifact": open_artifact(run / name),
        "adapter": _adapter(record),
        "stored": _stored(run / name),
        "parent": record.get("parent"),
        "is_reward_model": trains_reward_model(record.get("method")),
        "method": record.get("method"),
    }


def _adapter(record: dict[str, Any]) -> AdapterSpec:
    """Return the adapter setup of a stage, from its record."""
    kept = record.get("ingredients")
    adapter = kept.get("adapter") if isinstance(kept, dict) else None
    match adapter:
        case [bool() as use_lora, bool() as use_qlora, dict() as lora, dict() as quantization]:
            return AdapterSpec(use_lora, use_qlora, lora, quantization)
        case _:
            return AdapterSpec(True)


def _stored(folder: Path) -> Path | None:
    return folder if (folder / store.STATS).is_file() else None
