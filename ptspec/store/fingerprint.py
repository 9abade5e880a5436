"""Fingerprints of stages: a hash of everything that the result depends on; equal hash, no training.

Imports no torch, so that `pt plan` can tell what is reused. Names of sources, `$comment`, logging, saving and
tracking are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ptspec.accelerator import has_accelerator
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import BASE, EvaluationSpec, LmEvalSpec, ModelSpec, Plan, Stage
from ptspec.recipe.reward_parts import measured_rewards, rewards_of, with_parts
from ptspec.recipe.served_evaluation import evaluation_vllm
from ptspec.recipe.signals import JudgeSpec, RewardSpec, SecondModel
from ptspec.recipe.stage_evaluation import evaluation_of
from ptspec.store.content_hashes import Hashes, digest
from ptspec.store.covered_config import covered_config
from ptspec.store.file_hashes import known_hash

VERSIONED = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
FORMAT = 4
"""Version of training; increased when ptspec changes what the same recipe learns."""

EVALUATION = 6
"""Version of evaluation; increased when ptspec changes what it measures."""

WAITING = ("timeout", "retries", "max_concurrency")
"""Options of an endpoint that change how it is called, not what is asked."""


def parent_fingerprint(stage: Stage, fingerprints: Mapping[str, str], hashes: Hashes) -> str:
    """Return the fingerprint of what `stage` starts from: a stage of `fingerprints`, else a folder."""
    return fingerprints.get(stage.parent) or hashes.folder(Path(stage.parent))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide what a stage learns."""
    return {package: _version(package) for package in VERSIONED}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def ingredients(plan: Plan, stage: Stage, parent: str, hashes: Hashes) -> dict[str, Any]:
    """Return what the fingerprint of `stage` covers, by name; `parent`: fingerprint of its start."""
    # Not covered if absent, so that fingerprints of earlier versions stay valid.
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
"""Name of a merge's parts among its ingredients, with a number."""


def covered_by(plan: Plan, stage: Stage, fingerprints: Mapping[str, str], hashes: Hashes) -> dict[str, Any]:
    """Return what the fingerprint of `stage` covers; `fingerprints` are those of earlier stages."""
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
    """Return the stage's seed, and the recipe's if different: it decides the rows of a shuffled source."""
    seed = plan.seed_of(stage)
    return seed if seed == plan.seed else f"{seed}, rows {plan.seed}"


def _teacher(teacher: SecondModel, hashes: Hashes) -> list[str | None]:
    if teacher.path == BASE:
        return [hashes.model(), None]
    return [hashes.second_model(teacher.path), teacher.revision]


def _signals(plan: Plan, stage: Stage, hashes: Hashes) -> list[Any]:
    """Return the rewards and the judge of `stage`, with the contents of the files they name."""
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
        del described["by"]  # fingerprints of other rewards stay valid
    return described


def evaluation_fingerprint(plan: Plan, spec: EvaluationSpec, hashes: Hashes) -> str:
    """Return the hash of what an evaluation depends on, besides the policy itself."""
    rewards = {name: _measured(plan, reward, hashes) for name, reward in measured_rewards(plan).items()}
    accuracy = None if spec.accuracy is None else _signal(spec.accuracy, hashes)
    settings = [spec.metrics, spec.max_new_tokens, spec.sampled, spec.refusals, accuracy]
    judge = _judge_signal(plan, spec.judge, hashes)
    covered = [EVALUATION, hashes.source(spec.data), settings, plan.seed, rewards, judge]
    if spec.cluster is not None:  # not covered if absent: earlier evaluations stay valid
        covered.append({"cluster": spec.cluster})
    if evaluation_vllm(plan.evaluation, plan.compute) is not None:
        covered.append({"answers": "server"})
    return digest(covered if spec.lm_eval is None else [*covered, _tasks(spec.lm_eval)])


def _measured(plan: Plan, spec: RewardSpec, hashes: Hashes) -> Any:
    """Return a measured reward and those it chooses from; its weight counts in training only."""
    own = _signal(replace(spec, weight=1.0), hashes)
    return own if spec.by is None else [own, *(_signal(plan.rewards[part], hashes) for part in spec.by.parts)]


def _tasks(spec: LmEvalSpec) -> list[Any]:
    """Return the tasks of lm-evaluation-harness, its version, and the user's task files.

    The tasks' data may be anywhere and is not covered.
    """
    own = sorted(Path(spec.include_path).rglob("*.yaml")) if spec.include_path else ()
    return [asdict(spec), _version("lm_eval"), [known_hash(file) for file in own]]


def _judge_signal(plan: Plan, name: str | None, hashes: Hashes) -> list[Any]:
    """Return the judge called `name` and the reward that it uses."""
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
    """Return the differences of two ingredient lists in words: "beta 0.1 → 0.2", "data changed"."""
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
