"""What a stage's result depends on, as one hash: same fingerprint, same result, not trained again.

Torch-free, so that `pt plan` can tell what would be reused. What changes nothing in the result (names of
sources, `$comment`, logging, saving, tracking) stays out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ptspec.accelerator import has_accelerator
from ptspec.data.readers.remote import files_at, stamp_of
from ptspec.diagnostics import Diagnostic, StageError
from ptspec.hub.arrow_cache import cached_commit
from ptspec.hub.cache import commit
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.paths import is_file, is_folder
from ptspec.recipe.plan import BASE, EvaluationSpec, LmEvalSpec, ModelSpec, Plan, Stage
from ptspec.recipe.reward_parts import measured_rewards, rewards_of, with_parts
from ptspec.recipe.second_models import folder_of
from ptspec.recipe.served_evaluation import evaluation_vllm
from ptspec.recipe.signals import JudgeSpec, RewardSpec, SecondModel
from ptspec.recipe.sources import AnySource, Concat, Mix, Source
from ptspec.recipe.stage_evaluation import evaluation_of
from ptspec.store.covered_config import covered_config
from ptspec.store.file_hashes import known_content, known_hash

VERSIONED = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
FORMAT = 4
"""Raised when a change of ours alters what a stage of the same recipe learns."""

EVALUATION = 6
"""Raised when a change of ours alters what an evaluation measures: it is then measured again."""

STREAM = 1
"""Raised when a change of ours alters the order of the rows of a stream."""

WAITING = ("timeout", "retries", "max_concurrency")
"""Options of an endpoint that change how it is asked, not what."""

DECIDING = (
    *("*.safetensors", "config.json", "generation_config.json", "adapter_config.json", "*.py"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "additional_chat_templates/*.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json", "*.model"),
    *("tekken.json", "*.tiktoken"),
)
"""The files of a model or adapter folder that decide what it computes and generates: weights, configs, the
model's own code, the tokenizer in each of its forms."""


@dataclass(frozen=True)
class Hashed:
    """What the base model and the sources of a run were when they were hashed: for another process."""

    model: str | None
    model_files: tuple[Any, ...]
    sources: Mapping[str, Any]


class Hashes:
    """Content hashes of models and sources, each computed once a run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._model: str | None = None
        self._model_files: list[Any] = []
        self._sources: dict[str, Any] = {}
        self._folders: dict[Path, str] = {}
        self._lies: dict[str, Path] = {}

    def lies(self, stage: str, folder: Path) -> None:
        """What `stage` will be lies in `folder`, in another run so far."""
        self._lies[stage] = folder

    def adopt(self, before: Hashed) -> None:
        """Takes up what another process of the same run has hashed."""
        if self._model is None and before.model is not None:
            self._model, self._model_files = before.model, list(before.model_files)
        self._sources = {**before.sources, **self._sources}

    def model(self) -> str:
        if self._model is None:
            self._model_files = _stamps(self._plan.model)
            self._model = hash_model(self._plan.model)
        return self._model

    def hashed(self) -> Hashed:
        """What was hashed so far."""
        return Hashed(self._model, tuple(self._model_files), dict(self._sources))

    def source(self, name: str) -> Any:
        if name not in self._sources:
            self._sources[name] = self._hash_source(self._plan.data[name])
        return self._sources[name]

    def must_be_unchanged(self, name: str) -> None:
        """Raises `StageError` where a source is not what it was when it was hashed. Asked after its rows were
        read: what was read in between is then known to be what the fingerprints say."""
        source = self._plan.data[name]
        if self._hash_source(source) != self._sources.get(name):
            raise StageError(_changed_data(source))

    def model_must_be_unchanged(self) -> None:
        """Raises `StageError` where a file of the base model was written to since it was hashed (by size and
        time: hashing it again may take minutes)."""
        if self._model is not None and _stamps(self._plan.model) != self._model_files:
            raise StageError(
                Diagnostic(
                    "model-changed",
                    f"the base model in {self._plan.model.path} changed after this run had begun",
                    pointer="/model",
                    hint="start the same command again when the model is as it should be",
                )
            )

    def file(self, name: str) -> str:
        """The hash of a file that the recipe names."""
        found = self._plan.places.find(name)
        return known_hash(found) if found is not None and is_file(found) else "missing"

    def folder(self, folder: Path) -> str:
        """The hash of the model or adapter in `folder`; computed anew of one that this run may write."""
        if folder.resolve().is_relative_to(self._plan.output.resolve()):
            return hash_folder(folder)
        if folder not in self._folders:
            self._folders[folder] = hash_folder(folder)
        return self._folders[folder]

    def second_model(self, model: str) -> str:
        """The hash of a model beside the policy: a stage of this run, a folder, or a hub id, which stands for
        itself."""
        folder = self._lies.get(model) or folder_of(self._plan, model)
        return self.folder(folder) if folder is not None and is_folder(folder) else model

    def _hash_source(self, source: AnySource) -> Any:
        if isinstance(source, Concat):
            parts = self._plan.data
            joined = source.fractions.items()
            return ["concat", *([self._hash_source(parts[part]), fraction] for part, fraction in joined)]
        if isinstance(source, Mix):
            parts = self._plan.data
            drawn = [[self._hash_source(parts[part]), weight] for part, weight in source.weights.items()]
            return [source.until.value, *drawn]
        options = {
            "columns": dict(source.columns),
            "limit": source.limit,
            "shuffle": source.shuffle,
            "chat": source.chat,
            "split": source.split,
            "system": source.system,
            "on_bad_row": source.on_bad_row.value,
        }
        if source.streaming:
            options["streaming"] = STREAM
        return [_contents(source), options]


def _contents(source: Source) -> Any:
    """What stands for the contents of a source: their hash; the commit of one on the hub. To hash a stream is
    to read it: name, size and time of each of its files stand for it."""
    if source.hub is not None:
        return [source.hub, source.config_name, data_commit(source)]
    files = [[file.name, *stamp_of(source, file)] for file in files_at(source)]
    if not source.streaming:
        return [known_content(source.paths), *files] if files else known_content(source.paths)
    stats = [(file, file.stat()) for file in source.paths]
    return [*([file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats), *files]


def _changed_data(source: AnySource) -> Diagnostic:
    return Diagnostic(
        "data-changed",
        f'the data "{source.name}" changed after this run had begun',
        pointer=source.at,
        hint="start the same command again when the data is as it should be",
        notes=("finished stages are kept; those that used this data are then trained again",),
    )


def parent_fingerprint(stage: Stage, fingerprints: Mapping[str, str], hashes: Hashes) -> str:
    """The fingerprint of what comes into `stage`: of a stage among `fingerprints`, else of a folder."""
    return fingerprints.get(stage.parent) or hashes.folder(Path(stage.parent))


def hash_model(spec: ModelSpec) -> str:
    """SHA-256 over the files of a model folder that decide a result; of a hub id, over it and its commit."""
    if not spec.local:
        return digest([spec.path, hub_commit(spec)])
    return hash_folder(Path(spec.path))


def hub_commit(spec: ModelSpec) -> str | None:
    """The commit of a model on the hub, where it has been loaded; else its revision as the recipe says."""
    return None if spec.local else commit(spec.path, spec.revision) or spec.revision


def data_commit(source: Source) -> str | None:
    """The commit of a dataset on the hub, as the caches know it; its revision where the recipe gives one."""
    return source.revision or cached_commit(source.hub or "")


def hash_folder(folder: Path, hash_of: Callable[[Path], str] = known_hash) -> str:
    """SHA-256 over the files of a model or adapter folder that decide what it computes; `hash_of` hashes one
    of them."""
    return digest([[file.relative_to(folder).as_posix(), hash_of(file)] for file in deciding_files(folder)])


def deciding_files(folder: Path) -> list[Path]:
    """The files of a model or adapter folder that decide what it computes, in order."""
    files = {file for pattern in DECIDING for file in folder.glob(pattern)}
    return sorted(file for file in files if file.is_file())


def _stamps(spec: ModelSpec) -> list[Any]:
    """Name, bytes and time of the last write of each file of a local model."""
    files = [(str(file), file.stat()) for file in deciding_files(Path(spec.path))] if spec.local else []
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of the libraries that decide what a stage learns."""
    return {package: _version(package) for package in VERSIONED}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def ingredients(plan: Plan, stage: Stage, parent: str, hashes: Hashes) -> dict[str, Any]:
    """What the fingerprint of `stage` covers, by name; `parent` is the fingerprint of what comes in."""
    # Not covered where there is none: stages from before stay what they are.
    taught = {} if stage.teacher is None else {"teacher": _teacher(stage.teacher, hashes)}
    covered = {
        "format": FORMAT,
        "model": hashes.model(),
        "model options": _model_options(plan.model),
        "parent": parent,
        "method": stage.method.name,
        "handover": stage.handover.value if stage.handover else None,
        "data": hashes.source(stage.data),
        "adapter": _adapter(stage),
        "config": covered_config(stage.method, stage.config, stage.compute),
        "signals": _signals(plan, stage, hashes),
        **taught,
        "seed": _seed(plan, stage),
        "numbers": EffectiveConfig(stage, stage.compute, has_accelerator()).numbers(plan.model.dtype),
        "versions": versions(),
    }
    evaluation = evaluation_of(stage)
    if evaluation is not None and evaluation.decides:
        measured = {"eval_data": hashes.source(evaluation.data), "evaluation": evaluation.covered()}
        return covered | measured
    return covered


PART = "part"
"""What the ingredients of a merge call its parts, by number."""


def covered_by(plan: Plan, stage: Stage, fingerprints: Mapping[str, str], hashes: Hashes) -> dict[str, Any]:
    """What the fingerprint of `stage` covers, by name; `fingerprints`: of the stages before it."""
    if stage.merge is None:
        return ingredients(plan, stage, parent_fingerprint(stage, fingerprints, hashes), hashes)
    parts = [fingerprints.get(part.name) or hashes.folder(Path(part.name)) for part in stage.merge.parts]
    return {
        "format": FORMAT,
        "model": hashes.model(),
        "model options": _model_options(plan.model),
        "method": stage.method.name,
        **{f"{PART} {number}": part for number, part in enumerate(parts, start=1)},
        "weights": [part.weight for part in stage.merge.parts],
        "adapter": _adapter(stage),
        "versions": versions(),
    }


def _adapter(stage: Stage) -> list[Any]:
    spec = stage.adapter
    return [spec.use_lora, spec.use_qlora, dict(spec.lora), dict(spec.quantization)]


def _seed(plan: Plan, stage: Stage) -> int | str:
    """The stage's, and the recipe's where it differs: that says which rows a shuffled source brings."""
    seed = plan.seed_of(stage)
    return seed if seed == plan.seed else f"{seed}, rows {plan.seed}"


def _teacher(teacher: SecondModel, hashes: Hashes) -> list[str | None]:
    if teacher.path == BASE:
        return [hashes.model(), None]
    return [hashes.second_model(teacher.path), teacher.revision]


def _signals(plan: Plan, stage: Stage, hashes: Hashes) -> list[Any]:
    """The rewards and the judge of `stage`: what they are, and what stands in the files that they name."""
    judge = plan.judges[stage.judge] if stage.judge else None
    names = rewards_of(stage, plan.judges, plan.rewards)
    signals = [_signal(plan.rewards[name], hashes) for name in names]
    return [*signals, *([_signal(judge, hashes)] if judge else [])]


def _signal(spec: RewardSpec | JudgeSpec, hashes: Hashes) -> Any:
    described = {name: value for name, value in asdict(spec).items() if name not in ("name", "at")}
    if isinstance(spec, JudgeSpec) and spec.endpoint is not None:
        described["options"] = {name: value for name, value in spec.options.items() if name not in WAITING}
    file, _, function = (spec.function or "").rpartition(":")
    if file:
        described["function"] = [function, hashes.file(file)]
    if isinstance(template := spec.options.get("template"), str):
        described["options"] = {**described["options"], "template": hashes.file(template)}
    if isinstance(spec, RewardSpec) and spec.model is not None:
        described["model"] = hashes.second_model(spec.model)
    if isinstance(spec, RewardSpec) and spec.by is None:
        del described["by"]  # the fingerprints of other rewards stay what they were
    return described


def evaluation_fingerprint(plan: Plan, spec: EvaluationSpec, hashes: Hashes) -> str:
    """What an evaluation's numbers depend on beside the policy itself."""
    rewards = {name: _measured(plan, reward, hashes) for name, reward in measured_rewards(plan).items()}
    accuracy = None if spec.accuracy is None else _signal(spec.accuracy, hashes)
    settings = [spec.metrics, spec.max_new_tokens, spec.sampled, spec.refusals, accuracy]
    judge = _judge_signal(plan, spec.judge, hashes)
    covered = [EVALUATION, hashes.source(spec.data), settings, plan.seed, rewards, judge]
    if (
        spec.cluster is not None
    ):  # not covered where it is not given: evaluations from before stay what they are
        covered.append({"cluster": spec.cluster})
    if evaluation_vllm(plan.evaluation, plan.compute) is not None:
        covered.append({"answers": "server"})
    return digest(covered if spec.lm_eval is None else [*covered, _tasks(spec.lm_eval)])


def _measured(plan: Plan, spec: RewardSpec, hashes: Hashes) -> Any:
    """A reward that is measured, and those that it chooses from; its own weight counts in training alone."""
    own = _signal(replace(spec, weight=1.0), hashes)
    return own if spec.by is None else [own, *(_signal(plan.rewards[part], hashes) for part in spec.by.parts)]


def _tasks(spec: LmEvalSpec) -> list[Any]:
    """What is asked of the harness, its version, and the task files of one's own. Their data may be anywhere,
    so that it is not covered."""
    own = sorted(Path(spec.include_path).rglob("*.yaml")) if spec.include_path else ()
    return [asdict(spec), _version("lm_eval"), [known_hash(file) for file in own]]


def _judge_signal(plan: Plan, name: str | None, hashes: Hashes) -> list[Any]:
    """The judge called `name` and the reward that it goes by."""
    if name is None:
        return []
    judge = plan.judges[name]
    by = with_parts([judge.reward], plan.rewards) if judge.reward else ()
    return [_signal(judge, hashes), *(_signal(plan.rewards[reward], hashes) for reward in by)]


def _model_options(spec: ModelSpec) -> list[Any]:
    template = digest(spec.chat_template) if spec.chat_template else None
    own = [spec.eos_token, spec.pad_token]
    return [spec.dtype, spec.attn_implementation, template, own, *spec.additional_special_tokens]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """In words, what differs between two ingredient lists: "beta 0.1 → 0.2", "data changed"."""
    words: list[str] = []
    before = before if isinstance(before, Mapping) else {}
    for name, value in after.items():
        if (old := before.get(name)) == value:
            continue
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            words += [
                f"{key} {old.get(key, 'unset')} → {value.get(key, 'unset')}"
                for key in sorted({*old, *value})
                if old.get(key) != value.get(key)
            ]
        elif isinstance(value, str | int | float) and len(str(value)) < 20 and old is not None:
            words.append(f"{name} {old} → {value}")
        else:
            words.append(f"{name} changed")
    return words
