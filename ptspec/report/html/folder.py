"""Read a run folder into a `RunRecord`. Only a bad manifest raises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ptspec import methods
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import InputError
from ptspec.evaluation import store
from ptspec.evaluation.comparison_store import load_comparison, load_selection
from ptspec.evaluation.measurement import Measurement, trained_by
from ptspec.methods.merge import NAME as MERGE
from ptspec.recipe.matrix import expanded_stages
from ptspec.recipe.merge_spec import sum_in_words
from ptspec.recipe.plan import BASE, ComputeSpec
from ptspec.recipe.sections import compute_keys
from ptspec.report.html.events import Log, read_log
from ptspec.report.html.logged import Logged, read_logged
from ptspec.report.html.model import (
    BestEvaluation,
    Input,
    RunRecord,
    StageRecord,
    StartChecks,
    State,
    Training,
)
from ptspec.report.html.untrusted import Json, number, object_of, objects_of, text, whole
from ptspec.store.covered_config import covered_config
from ptspec.store.event_log import EVENTS
from ptspec.store.manifest import is_folder, read_manifest
from ptspec.store.stage_folder import METRICS, finished_record, partial_folder


def read_run(output: Path) -> RunRecord:
    """Return the content of the run in `output`. Raises `InputError` if it is not a run's folder."""
    manifest = read_manifest(output)
    log = read_log(output / EVENTS)
    recipe, started = object_of(manifest.get("recipe")), log.started
    base, base_error = _measurement(output / BASE, BASE)
    model = object_of(manifest.get("model"))
    return RunRecord(
        name=str(manifest.get("name") or output.name),
        description=str(recipe.get("description") or ""),
        output=shown(output.absolute()),
        ending=log.ending,
        started=text(started.get("time")),
        written=str(manifest.get("written")),
        seconds=number(log.finished.get("seconds")),
        sessions=log.sessions,
        setup=text(started.get("setup")),
        parameters=whole(started.get("parameters")),
        seed=whole(manifest.get("seed")),
        model=str(started.get("model") or model.get("path")),
        stages=tuple(
            _stage(output, spec, recipe, log)
            for spec in expanded_stages(recipe.get("stages"))
            if is_folder(spec.get("name"))
        ),
        base=base,
        base_error=base_error,
        checks=log.checks,
        warnings=log.warnings,
        inputs=(
            Input("model", str(model.get("path")), text(model.get("sha256"))),
            *_sources(recipe, object_of(manifest.get("data"))),
        ),
        versions={"ptspec": str(manifest.get("ptspec")), **_strings(manifest.get("versions"))},
        environment=_strings(manifest.get("environment")),
        recipe=recipe,
        recipe_file=str(manifest.get("recipe_file")),
        command=text(manifest.get("command")),
        working_directory=text(manifest.get("working_directory")),
    )


def _stage(output: Path, spec: Json, recipe: Json, log: Log) -> StageRecord:
    name = str(spec.get("name"))
    record = finished_record(output, name) or {}
    announced = next((line for line in objects_of(log.started.get("stages")) if line.get("name") == name), {})
    told = {key: text(record.get(key, announced.get(key))) for key in ("parent", "handover", "reference")}
    measurement, error = _measurement(output / name, name) if record else (None, None)
    began = log.last("StageStarted", name)
    return StageRecord(
        name=name,
        method=str(spec.get("method")),
        parent=told.get("parent") or text(spec.get("from")),
        handover=told.get("handover"),
        reference=told.get("reference"),
        data=_data(spec.get("data"), recipe),
        signals=_signals(spec),
        state=_state(output, spec, record, log, recipe),
        rows=whole(began.get("rows")),
        resumed_from_step=whole(began.get("resumed_from_step")) or 0,
        reason=text(began.get("reason")),
        checked=text(log.last("StageChecked", name).get("summary")),
        training=_training(record) if record else None,
        logged=_logged(output, name, str(spec.get("method")), bool(record)),
        measurement=None if measurement is None else trained_by(measurement, text(record.get("method"))),
        error=error,
        comparison=load_comparison(output / name) if record else None,
        selection=load_selection(output / name) if record and "pick" in spec else None,
        merged=_merged(record) or _merged(spec),
    )


def _merged(of: Json) -> str:
    """Return "0.9 × a + 0.1 × b" for a merge, else ""."""
    weights = {name: number(weight) for name, weight in object_of(of.get("of")).items()}
    known = [(name, weight) for name, weight in weights.items() if weight is not None]
    return sum_in_words(known) if known else ""


def _signals(spec: Json) -> str:
    """Return "judge: concise" or "rewards: correct, style"; "" for a stage without either."""
    if spec.get("judge"):
        return f"judge: {spec['judge']}"
    rewards = spec.get("rewards")
    return f"rewards: {', '.join(map(str, rewards))}" if isinstance(rewards, list) and rewards else ""


def _state(output: Path, spec: Json, record: Json, log: Log, recipe: Json) -> State:
    name = str(spec.get("name"))
    if log.in_last_session("StageReused", name):
        return State.REUSED
    if log.in_last_session("StageFinished", name):
        return State.DONE
    if record:
        return State.EARLIER if _fits(output, spec, record, recipe) else State.OUTDATED
    return State.UNFINISHED if partial_folder(output, name).is_dir() else State.NOT_RUN


def _fits(output: Path, spec: Json, record: Json, recipe: Json) -> bool:
    """Return whether a folder that the last session did not reach matches this recipe, as far as known."""
    kept, method, parent = object_of(record.get("ingredients")), str(spec.get("method")), record.get("parent")
    if method == MERGE:
        weights = [weight for name, weight in object_of(spec.get("of")).items() if name != "$comment"]
        return kept.get("method") == MERGE and kept.get("weights") == weights
    known = methods.find(method)
    if known is None:
        return False
    keys = compute_keys(object_of(recipe.get("compute")), object_of(spec.get("compute")))
    compute = ComputeSpec(
        processes=whole(keys.get("processes")) or 1,
        nodes=whole(keys.get("nodes")) or 1,
        keep_effective_batch=keys.get("keep_effective_batch") is not False,
    )
    if "pick" in spec:
        return True  # its record holds the variants and the choice
    config = covered_config(known, object_of(spec.get("config")), compute)
    before = finished_record(output, str(parent))
    on_the_same = before is None or before.get("fingerprint") == kept.get("parent")
    return on_the_same and kept.get("method") == method and kept.get("config") == config


def _training(record: Json) -> Training:
    checks = object_of(record.get("checks"))
    return Training(
        adapter=str(record.get("adapter") or ""),
        steps=whole(record.get("steps")) or 0,
        trainable_parameters=whole(record.get("trainable_parameters")) or 0,
        seconds=number(record.get("seconds")) or 0.0,
        peak_memory_bytes=whole(record.get("peak_memory_bytes")),
        finished=str(record.get("finished") or ""),
        checks=StartChecks(
            number(checks.get("policy_to_handed_over")),
            number(checks.get("policy_to_reference")),
            number(checks.get("saved_to_trained")),
        ),
        config=object_of(object_of(record.get("ingredients")).get("config")),
        best=_best(object_of(record.get("best"))),
    )


def _best(kept: Json) -> BestEvaluation | None:
    step, metric = whole(kept.get("step")), text(kept.get("metric"))
    if step is None or metric is None:
        return None
    return BestEvaluation(step, metric, kept.get("handed_on") is True, whole(kept.get("stopped_at")))


def _logged(output: Path, name: str, method: str, finished: bool) -> Logged:
    """Return the logged steps, also of a stage under way."""
    folder = output / name if finished else partial_folder(output, name)
    known = methods.find(method)
    return read_logged(folder / METRICS, known.headline if known else ())


def _measurement(folder: Path, name: str) -> tuple[Measurement | None, str | None]:
    """Return the evaluation in `folder`, or the error (None: there is none)."""
    if not (folder / store.STATS).is_file():
        return None, None
    try:
        return replace(store.load_measurement(folder), name=name), None
    except InputError as error:
        return None, str(error)


def _sources(recipe: Json, hashes: Json) -> list[Input]:
    return [Input(name, _data(name, recipe), _sha256(hashes.get(name))) for name in hashes]


def _sha256(value: Any) -> str | None:
    """Return a source's hash: the manifest stores [hash, options], and for a mix its parts."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


def _data(name: Any, recipe: Json) -> str:
    """Return "train: data/train.jsonl"."""
    source = object_of(object_of(recipe.get("data")).get(str(name)))
    mix = object_of(source.get("mix"))
    if mix:
        return f"{name}: {' + '.join(f'{share} {part}' for part, share in mix.items())}"
    path = source.get("path")
    where = ", ".join(map(str, path)) if isinstance(path, list) else path
    return f"{name}: {where}" if where else str(name)


def _strings(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in object_of(value).items()}
