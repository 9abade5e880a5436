"""`pt eval`: what to measure (runs, stages, adapters, models), and their measurements, stored or made now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptspec.data.load import load_evaluation
from ptspec.data.sources import content_hash, shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.evaluation import store
from ptspec.evaluation.choice import chosen
from ptspec.evaluation.measurement import DataStamp, Measurement
from ptspec.events import EvaluationStarted, Listener, StageEvaluated
from ptspec.recipe.plan import BASE, AdapterSpec, EvaluationSpec, Source
from ptspec.rewards.builtin import RewardFunction, builtin
from ptspec.run.allowed import model_spec
from ptspec.run.artifact import (
    ADAPTER_CONFIG,
    MODEL_CONFIG,
    RECORD,
    Artifact,
    finished_record,
    open_artifact,
)
from ptspec.run.manifest import MANIFEST, open_manifest


@dataclass(frozen=True)
class Target:
    """A policy that `pt eval` was asked about. `stored` is the folder of its evaluation, if it has one;
    `recipe` the recipe of the run it belongs to (empty outside a run), in that
    run's folder `run`."""

    name: str
    model: str
    artifact: Artifact | None
    adapter: AdapterSpec
    stored: Path | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    run: Path | None = None


@dataclass(frozen=True)
class Held:
    """The held-out rows to measure on (`prompts`: so many of them, by a seeded choice), and how."""

    source: Source
    spec: EvaluationSpec
    seed: int
    prompts: int | None = None


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
    prompts: int | None = None,
) -> Question:
    """The question in `pt eval`'s options. Raises `InputError` before anything is loaded."""
    asked = last_of_each(paths) if compare else targets(paths)
    if compare and len(asked) < 2:
        hint = "pt eval --compare outputs/a outputs/b"
        raise InputError(Diagnostic("wrong-usage", "--compare takes two or more policies", hint=hint))
    held = None if data is None else held_out(data, max_new_tokens, prompts, asked[0])
    if held is None and (without := [target for target in asked if target.stored is None]):
        raise InputError(_not_evaluated(without[0]))
    if output is not None:
        _must_be_ours(output)
    if held is not None:
        for target in asked:
            model_spec(target.model, target.recipe, allow_code=allow_code)
    return Question(tuple(asked), held, output, allow_code)


def judge_name(asked: Sequence[Target], name: str | None) -> str | None:
    """The judge of the responses: `name`, else the `eval.judge` of the first run's recipe; None for none."""
    if name is None:
        recipe = next((target.recipe for target in asked if target.recipe), {})
        name = (recipe.get("eval") or {}).get("judge")
    return None if name == "none" else name


def appraise(question: Question, listener: Listener) -> list[Measurement]:
    """The measurements asked for, stored or made now, in the order of the targets. Writes nothing."""
    if question.held is None:
        return [stored_measurement(target) for target in question.targets]
    return measure_all(question.targets, question.held, listener, question.allow_code)


def write(question: Question, measured: Sequence[Measurement]) -> None:
    """The files of the evaluations, where the question says; nowhere where it does not."""
    if (output := question.output) is None:
        return
    from ptspec.run.assess import write_evaluation

    samples = question.held.spec.samples if question.held else EvaluationSpec.samples
    names = folder_names([measurement.name for measurement in measured])
    for index, measurement in enumerate(measured):
        folder = output if len(measured) == 1 else output / names[index]
        folder.mkdir(parents=True, exist_ok=True)
        write_evaluation(measurement, measured[:index], folder, (), samples)


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder's name for each policy, whatever it is called: one step below, and no two the same."""
    made: list[str] = []
    for name in names:
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.").lower()[-64:].lstrip("-.") or "policy"
        numbered = (safe, *(f"{safe}-{number}" for number in range(2, len(names) + 2)))
        made.append(next(candidate for candidate in numbered if candidate not in made))
    return made


def _must_be_ours(output: Path) -> None:
    """Refuses to write among files that no evaluation left there."""
    if not output.exists():
        return
    if not output.is_dir():
        raise InputError(Diagnostic("not-a-folder", f"--output {output} is a file", Location(str(output))))
    ours = {store.STATS, store.SAMPLES, store.ROWS, REPORT, COMPARISON, *PICTURES}
    strange = [p.name for p in output.iterdir() if p.name not in ours and not (p / store.STATS).is_file()]
    if strange:
        message = f"--output {output} holds something else: {strange[0]}"
        hint = "give a new folder, or one that holds an evaluation"
        raise InputError(Diagnostic("folder-in-use", message, Location(str(output)), hint=hint))


REPORT = "report.html"
COMPARISON = "comparison.json"
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
    chosen = [_last(path) for path in paths]
    names = [target.name for target in chosen]
    if len(set(names)) == len(names):
        return chosen
    return [replace(target, name=path) for target, path in zip(chosen, paths, strict=True)]


def _last(path: str) -> Target:
    """What `path` stands for where one policy is wanted. A run that is unfinished stands for none."""
    found = _targets(path)
    asked = [stage.get("name") for stage in found[-1].recipe.get("stages") or ()]
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
    elif any(folder.glob(f"*/{RECORD}")) or any(folder.glob(f"*/{RECORD}")):
        what = f"its {MANIFEST} is missing, though it has finished stages: name one of them"
    elif any(folder.glob(".*.partial")) or (folder / "events.jsonl").exists():
        what = "the run has no finished stage yet"
    else:
        what = "it has no manifest.json (run), adapter_config.json (adapter) or config.json (model)"
    hint = "give a run (outputs/NAME), one of its stages, an adapter or a model"
    return Diagnostic("not-a-model", f"{path} cannot be opened: {what}", Location(path), hint=hint)


def _run_targets(run: Path) -> list[Target]:
    manifest = open_manifest(run)
    model, recipe = manifest.model, dict(manifest.recipe)
    base = Target(BASE, model, None, AdapterSpec(True), _stored(run / BASE), recipe, None, run)
    stages = [name for name in manifest.folders if name != BASE]
    return [base, *(replace(base, **_stage(run, name)) for name in stages)]


def _stage(run: Path, name: str) -> dict[str, Any]:
    """What is different of the target for a stage. Raises `InputError` where its folder is not whole."""
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
    }


def _incomplete(run: Path, name: str, what: str) -> Diagnostic:
    hint = "the run's command makes it again"
    message = f"the stage {name} of {run} is not whole: {what}"
    return Diagnostic("half-a-run", message, Location(str(run / name)), hint=hint)


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


def held_out(path: Path, max_new_tokens: int | None, prompts: int | None, first: Target) -> Held:
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
    return Held(Source("data", (path.absolute(),)), spec, int(first.recipe.get("seed", 42)), prompts)


def measure_all(
    asked: Sequence[Target], held: Held, listener: Listener, allow_code: bool
) -> list[Measurement]:
    """Each target measured on the same rows, the base weights loaded once for those that share them."""
    from ptspec.evaluation.measure import keys_of, measure
    from ptspec.model.bases import Bases
    from ptspec.model.device import find_device

    rows = load_evaluation({"data": held.source}, "data")
    if held.prompts is not None:
        rows = [rows[i] for i in chosen(keys_of(rows), held.prompts, held.seed)]
    stamp = DataStamp(shown(held.source.paths[0]), content_hash(held.source), len(rows))
    device = find_device()
    shelves: dict[str, Bases] = {}
    done: list[Measurement] = []
    by_stage: dict[tuple[Path | None, str], Measurement] = {}
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
            reference=by_stage.get((target.run, target.parent or "")),
            base=untrained,
            base_name=shown(Path(target.model)) if Path(target.model).exists() else target.model,
            data=stamp,
        )
        done.append(measured)
        by_stage[target.run, target.name] = measured
        listener(StageEvaluated(target.name, measured.shown, measured.seconds))
        del model, untrained
        bases.release()
    return done


def _rewards(recipe: dict[str, Any]) -> dict[str, RewardFunction]:
    rewards = {}
    for name, reward in (recipe.get("rewards") or {}).items():
        function = reward.get("function", "")
        if function and ":" not in function:
            options = {key: value for key, value in reward.items() if key not in NOT_OPTIONS}
            rewards[name] = builtin(function, options)
    return rewards


NOT_OPTIONS = ("function", "weight", "$comment")
