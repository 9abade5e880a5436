"""`pt eval`: what to measure (runs, stages, adapters, models), and their measurements, stored or made now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptspec.data.load import load_evaluation
from ptspec.data.sources import content_hash, shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.evaluation import store
from ptspec.evaluation.measurement import DataStamp, Measurement
from ptspec.events import EvaluationStarted, Listener, StageEvaluated
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Source
from ptspec.rewards.builtin import RewardFunction, builtin
from ptspec.run.allowed import model_spec
from ptspec.run.artifact import (
    ADAPTER_CONFIG,
    MODEL_CONFIG,
    Artifact,
    finished_record,
    open_artifact,
)
from ptspec.run.manifest import MANIFEST, open_manifest


@dataclass(frozen=True)
class Target:
    """A policy that `pt eval` was asked about. `stored` is the folder of its evaluation, if it has one;
    `recipe` the recipe of the run it belongs to (empty outside a run)."""

    name: str
    model: str
    artifact: Artifact | None
    adapter: AdapterSpec
    stored: Path | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None


@dataclass(frozen=True)
class Held:
    """The held-out rows to measure on, and how."""

    source: Source
    spec: EvaluationSpec
    seed: int


@dataclass(frozen=True)
class Question:
    """What `pt eval` was asked. `held` None: what lies beside the targets is told. `output`: where the
    files of the evaluation go; None writes nothing."""

    targets: tuple[Target, ...]
    held: Held | None
    output: Path | None
    allow_code: bool = False


def ask(
    paths: Sequence[str],
    data: Path | None,
    compare: bool,
    output: Path | None,
    max_new_tokens: int | None,
    allow_code: bool = False,
) -> Question:
    """The question in `pt eval`'s options. Raises `InputError` before anything is loaded."""
    asked = last_of_each(paths) if compare else targets(paths)
    if compare and len(asked) < 2:
        hint = "pt eval --compare outputs/a outputs/b"
        raise InputError(Diagnostic("wrong-usage", "--compare takes two or more policies", hint=hint))
    held = None if data is None else held_out(data, max_new_tokens, asked[0])
    if held is None and (without := [target for target in asked if target.stored is None]):
        raise InputError(_not_evaluated(without[0]))
    if output is not None:
        _must_be_ours(output)
    if held is not None:
        for target in asked:
            model_spec(target.model, target.recipe, allow_code=allow_code)
    return Question(tuple(asked), held, output, allow_code)


def appraise(question: Question, listener: Listener) -> list[Measurement]:
    """The measurements asked for, stored or made now, in the order of the targets."""
    if question.held is None:
        measured = [stored_measurement(target) for target in question.targets]
    else:
        measured = measure_all(question.targets, question.held, listener, question.allow_code)
    if question.output is not None:
        _write(measured, question.output, question.held.spec.samples if question.held else 8)
    return measured


def _write(measured: Sequence[Measurement], output: Path, samples: int) -> None:
    from ptspec.run.assess import write_evaluation

    for index, measurement in enumerate(measured):
        folder = output if len(measured) == 1 else output / measurement.name.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        write_evaluation(measurement, measured[:index], folder, (), samples)


def _must_be_ours(output: Path) -> None:
    """Refuses to write among files that no evaluation left there."""
    if not output.exists():
        return
    if not output.is_dir():
        raise InputError(Diagnostic("not-a-folder", f"--output {output} is a file", Location(str(output))))
    ours = {store.STATS, store.SAMPLES, store.ROWS, REPORT, *PICTURES}
    strange = [p.name for p in output.iterdir() if p.name not in ours and not (p / store.STATS).is_file()]
    if strange:
        message = f"--output {output} holds something else: {strange[0]}"
        hint = "give a new folder, or one that holds an evaluation"
        raise InputError(Diagnostic("folder-in-use", message, Location(str(output)), hint=hint))


REPORT = "report.html"
PICTURES = (
    "training_curves.png",
    "perplexity_distribution.png",
    "response_lengths.png",
    "model_comparison.png",
)


def targets(paths: Sequence[str]) -> list[Target]:
    """The policies in `paths`: a run stands for its base and all its finished stages, in order."""
    return [target for path in paths for target in _targets(path)]


def last_of_each(paths: Sequence[str]) -> list[Target]:
    """One policy a path: of a run, its last stage."""
    chosen = [_targets(path)[-1] for path in paths]
    names = [target.name for target in chosen]
    if len(set(names)) == len(names):
        return chosen
    return [replace(target, name=path) for target, path in zip(chosen, paths, strict=True)]


def _targets(path: str) -> list[Target]:
    folder = Path(path)
    if (folder / MANIFEST).is_file():
        return _run_targets(folder)
    if (folder.parent / MANIFEST).is_file() and folder.is_dir():
        within = {target.name: target for target in _run_targets(folder.parent)}
        if folder.name in within:
            return [within[folder.name]]
    if (folder / ADAPTER_CONFIG).is_file():
        artifact = open_artifact(folder)
        return [Target(folder.name, artifact.weights, artifact, AdapterSpec(True), _stored(folder))]
    if (folder / MODEL_CONFIG).is_file() or (not folder.exists() and _is_hub_id(path)):
        return [Target(folder.name, path, None, AdapterSpec(True), _stored(folder))]
    raise InputError(_not_a_target(path, folder))


def _is_hub_id(path: str) -> bool:
    return path.count("/") == 1 and not path.startswith((".", "/", "~"))


def _not_a_target(path: str, folder: Path) -> Diagnostic:
    if not folder.exists():
        what = "there is no such folder"
    elif any(folder.glob(".*.partial")) or (folder / "events.jsonl").exists():
        what = "the run has no finished stage yet"
    else:
        what = "it has no manifest.json (run), adapter_config.json (adapter) or config.json (model)"
    hint = "give a run (outputs/NAME), one of its stages, an adapter or a model"
    return Diagnostic("not-a-model", f"{path} cannot be opened: {what}", Location(path), hint=hint)


def _run_targets(run: Path) -> list[Target]:
    manifest = open_manifest(run)
    model, recipe = manifest.model, dict(manifest.recipe)
    found = [Target(BASE, model, None, AdapterSpec(True), _stored(run / BASE), recipe)]
    for name in manifest.folders:
        if name != BASE and (record := finished_record(run, name)) is not None:
            artifact = open_artifact(run / name)
            adapter, parent = _adapter(record), record.get("parent")
            found.append(Target(name, model, artifact, adapter, _stored(run / name), recipe, parent))
    return found


def _adapter(record: dict[str, Any]) -> AdapterSpec:
    """The adapter setup a stage was trained with, as its record holds it."""
    use_lora, use_qlora, lora, quantization = record.get("ingredients", {}).get(
        "adapter", [True, False, {}, {}]
    )
    return AdapterSpec(use_lora, use_qlora, lora, quantization)


def _stored(folder: Path) -> Path | None:
    return folder if (folder / store.STATS).is_file() else None


def stored_measurement(target: Target) -> Measurement:
    """The evaluation that lies beside `target`; raises `InputError` where there is none."""
    if target.stored is None:
        raise InputError(_not_evaluated(target))
    return replace(store.load_measurement(target.stored), name=target.name)


def _not_evaluated(target: Target) -> Diagnostic:
    hint = "say what to measure it on: --data FILE"
    return Diagnostic("not-evaluated", f"{target.name} has no evaluation of its own", hint=hint)


def held_out(path: Path, max_new_tokens: int | None, first: Target) -> Held:
    """The rows of the file at `path`; settings that are not given are those of the recipe of `first`."""
    if not path.is_file():
        raise InputError(Diagnostic("missing-file", f"there is no file {path}", Location("--data")))
    asked = first.recipe.get("eval") or {}
    tokens = max_new_tokens or asked.get("max_new_tokens", EvaluationSpec.max_new_tokens)
    refusals = asked.get("refusals") or ()
    spec = EvaluationSpec(
        "data",
        max_new_tokens=tokens,
        samples=asked.get("samples", EvaluationSpec.samples),
        sampled=asked.get("sampled", EvaluationSpec.sampled),
        refusals=(refusals,) if isinstance(refusals, str) else tuple(refusals),
    )
    return Held(Source("data", (path.absolute(),)), spec, int(first.recipe.get("seed", 42)))


def measure_all(
    asked: Sequence[Target], held: Held, listener: Listener, allow_code: bool
) -> list[Measurement]:
    """Each target measured on the same rows, the base weights loaded once for those that share them."""
    from ptspec.evaluation.measure import measure
    from ptspec.model.bases import Bases
    from ptspec.model.device import find_device

    rows = load_evaluation({"data": held.source}, "data")
    stamp = DataStamp(shown(held.source.paths[0]), content_hash(held.source), len(rows))
    device = find_device()
    shelves: dict[str, Bases] = {}
    done: dict[str, Measurement] = {}
    for target in asked:
        bases = shelves.setdefault(
            target.model, Bases(model_spec(target.model, target.recipe, allow_code=allow_code), device)
        )
        listener(EvaluationStarted(target.name, len(rows)))
        model, base = bases.open(target.adapter, target.artifact)
        untrained = bases.open(target.adapter, None)[0] if target.artifact else None
        measured = measure(
            model,
            base.tokenizer,
            rows,
            held.spec,
            seed=held.seed,
            name=target.name,
            rewards=_rewards(target.recipe),
            reference=done.get(target.parent or ""),
            base=untrained,
            base_name=shown(Path(target.model)) if Path(target.model).exists() else target.model,
            data=stamp,
        )
        done[target.name] = measured
        listener(StageEvaluated(target.name, measured.shown, measured.seconds))
        del model, untrained
        bases.release()
    return list(done.values())


def _rewards(recipe: dict[str, Any]) -> dict[str, RewardFunction]:
    rewards = {}
    for name, reward in (recipe.get("rewards") or {}).items():
        function = reward.get("function", "")
        if function and ":" not in function:
            options = {key: value for key, value in reward.items() if key not in NOT_OPTIONS}
            rewards[name] = builtin(function, options)
    return rewards


NOT_OPTIONS = ("function", "weight", "$comment")
