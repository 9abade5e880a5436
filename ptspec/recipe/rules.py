"""Evaluation, checks, and rules that tie sections of a recipe together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.names import Names, check_known, each, named
from ptspec.recipe.plan import BASE, CheckSpec, ComputeSpec, EvaluationSpec, Mix, OnFail, Source, Stage
from ptspec.recipe.text import join
from ptspec.shipped import schema

Value = dict[str, Any]

METRICS = (
    "loss",
    "perplexity",
    "bits_per_byte",
    "accuracy",
    "sampled_accuracy",
    "preference_accuracy",
    "pair_accuracy",
    "reward_margin",
    "pair_margin",
    "win_rate",
    "win_rate_lc",
    "win_rate_base",
    "win_rate_base_lc",
    "kl",
    "response_length",
    "finished",
    "distinct_1",
    "distinct_2",
    "repetition",
    "empty",
    "refusals",
)
"""What an evaluation can measure, besides the recipe's rewards, which go by their names."""


def held_out(evaluation: EvaluationSpec | None, stages: Sequence[Stage], findings: Findings) -> None:
    """Data that a stage trains on shows what it learned by heart, not what it can do."""
    for stage in stages:
        if evaluation is not None and stage.data == evaluation.data:
            message = f'"{evaluation.data}" is what stage "{stage.name}" trains on: nothing in it is held out'
            hint = "give other rows, which no stage trains on"
            findings.warn("held-out-row", "/eval/data", message, hint)
            return


def evaluation(value: Value | None, names: Names, findings: Findings) -> EvaluationSpec | None:
    if value is None:
        return None
    if value.get("judge") is not None:
        check_known(value["judge"], "/eval/judge", "unknown-judge", names.judges, findings)
    for where, name in each(value.get("metrics"), "/eval/metrics"):
        _check_metric(name, where, names.rewards, findings)
        if name in JUDGED and "judge" not in value:
            findings.error("missing-key", where, f'"{name}" needs "judge": a name in /judges')
    for where, pattern in each(value.get("refusals"), "/eval/refusals"):
        _check_pattern(pattern, where, findings)
    if "data" not in value:
        return None
    check_known(value["data"], "/eval/data", "unknown-data", names.data, findings)
    metrics = value.get("metrics")
    rest = {key: value[key] for key in PASSED if key in value}
    return EvaluationSpec(
        metrics=tuple(n for _, n in each(metrics, "")) if metrics else None,
        refusals=tuple(pattern for _, pattern in each(value.get("refusals"), "")),
        **rest,
    )


PASSED = ("data", "max_new_tokens", "samples", "judge", "sampled")
JUDGED = ("win_rate", "win_rate_lc", "win_rate_base", "win_rate_base_lc")


def _check_pattern(pattern: str, at: str, findings: Findings) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        findings.error("wrong-pattern", at, f"this is no regular expression: {error}")


def _check_metric(name: str, at: str, rewards: Sequence[str], findings: Findings) -> None:
    known = [*METRICS, *rewards]
    if name not in known:
        hint = did_you_mean(name, known) or f"metrics: {listed(known, 24)}"
        findings.error("unknown-metric", at, f'"{name}" is no metric', hint, ("a reward's name is one too",))


def stage_checks(
    value: Sequence[Any], rewards: Sequence[str], findings: Findings
) -> dict[str, tuple[CheckSpec, ...]]:
    """Stage name -> its checks."""
    found: dict[str, tuple[CheckSpec, ...]] = {}
    before: list[str] = []
    for index, name, given in named(value):
        at = join("/stages", index, "checks")
        found.setdefault(name, tuple(_checks(given.get("checks"), at, before, rewards, findings)))
        before.append(name)
    return found


def run_checks(
    value: Sequence[Any] | None,
    stages: Sequence[str],
    rewards: Sequence[str],
    findings: Findings,
) -> tuple[CheckSpec, ...]:
    return tuple(_checks(value, "/checks", stages, rewards, findings))


def _checks(
    value: Sequence[Any] | None,
    at: str,
    before: Sequence[str],
    rewards: Sequence[str],
    findings: Findings,
) -> Iterator[CheckSpec]:
    for index, given in enumerate(value or ()):
        if not isinstance(given, dict) or "metric" not in given:
            continue
        where = join(at, index)
        if "eval" not in findings.document.value:
            hint = 'add "eval": {"data": …}'
            findings.error("check-without-eval", where, 'a check needs "eval": nothing is measured', hint)
        _check_metric(given["metric"], join(where, "metric"), rewards, findings)
        _check_over(given, where, before, findings)
        if given.get("min") is not None and given.get("max") is not None and given["min"] > given["max"]:
            message = f'"min" {given["min"]} is above "max" {given["max"]}: no value can hold'
            findings.error("contradiction", join(where, "min"), message, "exchange them")
        rest = {key: value for key, value in given.items() if key != "on_fail"}
        yield CheckSpec(**rest, on_fail=OnFail(given.get("on_fail", "stop")), at=where)


def _check_over(given: Value, at: str, before: Sequence[str], findings: Findings) -> None:
    over = given.get("over")
    if over is None:
        return
    where = join(at, "over")
    if not {"min_gain", "max_increase"} & given.keys():
        message = '"over" has no effect without "min_gain" or "max_increase"'
        findings.warn("unused-key", where, message, key=True)
    if over != BASE and over not in before:
        known = [*before, BASE]
        hint = did_you_mean(over, known) or f"earlier: {listed(known)}"
        findings.error("unknown-stage", where, f'"{over}" is not an earlier stage', hint)


def stage_rules(
    stage: Stage, data: Mapping[str, Source | Mix], compute: ComputeSpec | None, findings: Findings
) -> None:
    """Values of a stage's config that contradict each other or another section."""
    config, at = stage.config, join(stage.at, "config")
    if config.get("max_steps", -1) > 0 and "num_train_epochs" in config:
        message = '"num_train_epochs" has no effect: "max_steps" overrides it'
        findings.warn("contradiction", join(at, "num_train_epochs"), message, "keep one", key=True)
    if config.get("bf16") and config.get("fp16"):
        findings.error("contradiction", join(at, "fp16"), '"bf16" and "fp16" cannot both be true', "keep one")
    if stage.method.online:
        _check_groups(stage, compute, findings)
    _check_precision(config, at, compute, findings)
    _check_loss_weights(config, at, findings)
    source = data.get(stage.data)
    if isinstance(source, Source) and source.streaming and config.get("max_steps", -1) <= 0:
        message = f'stage "{stage.name}" needs "max_steps": its data is streamed, its length is not known'
        findings.error("missing-key", at if stage.config else stage.at, message, '"config": {"max_steps": …}')


def _check_groups(stage: Stage, compute: ComputeSpec | None, findings: Findings) -> None:
    """TRL samples `num_generations` completions of each prompt; a generation batch holds whole groups."""
    fields = schema(f"trl/{stage.method.name}.schema.json")["properties"]

    def value(name: str) -> Any:
        default = stage.method.defaults.get(name, fields[name].get("default"))
        return stage.config.get(name, default)

    processes = compute.processes * compute.nodes if compute else 1
    rows, group = value("per_device_train_batch_size"), value("num_generations")
    steps = value("steps_per_generation") or value("gradient_accumulation_steps")
    batch = value("generation_batch_size") or rows * processes * steps
    if batch % group:
        place = next((k for k in _GROUP_FIELDS if k in stage.config), None)
        at = join(stage.at, "config", place) if place else stage.at
        message = f"a generation batch of {batch} rows cannot be split into groups of num_generations {group}"
        over = f" × {processes} processes" if processes > 1 else ""
        parts = f"per_device_train_batch_size {rows} × {_steps_by(stage)} {steps}{over}"
        what = "it" if "generation_batch_size" in stage.config else parts
        hint = f"make {what} a multiple of {group}"
        findings.error("contradiction", at, message, hint)


def _steps_by(stage: Stage) -> str:
    return "steps_per_generation" if "steps_per_generation" in stage.config else "gradient_accumulation_steps"


_GROUP_FIELDS = (
    "num_generations",
    "generation_batch_size",
    "per_device_train_batch_size",
    "steps_per_generation",
    "gradient_accumulation_steps",
)


def _check_precision(
    config: Mapping[str, Any], at: str, compute: ComputeSpec | None, findings: Findings
) -> None:
    precision = compute.precision if compute else None
    for key in ("bf16", "fp16"):
        if precision and config.get(key) is not None and config[key] != (precision == key):
            message = f'"{key}" is {str(config[key]).lower()}, but /compute/precision is "{precision}"'
            findings.error("contradiction", join(at, key), message, "keep one")


def _check_loss_weights(config: Mapping[str, Any], at: str, findings: Findings) -> None:
    losses, weights = config.get("loss_type"), config.get("loss_weights")
    count = len(losses) if isinstance(losses, list) else 1
    if isinstance(weights, list) and len(weights) != count:
        message = f"{len(weights)} loss_weights for {count} loss_type{'s' if count != 1 else ''}"
        findings.error("contradiction", join(at, "loss_weights"), message, "one weight a loss")


def unused(adapter: Value, stages: Sequence[Stage], findings: Findings) -> None:
    """LoRA fields of a recipe in which no stage trains an adapter."""
    fields = [key for key in adapter if key not in ("use_lora", "use_qlora", "quantization")]
    if fields and stages and not any(stage.adapter.use_lora for stage in stages):
        message = f'"{fields[0]}" has no effect: no stage uses LoRA, every one trains all weights'
        findings.warn("unused-key", join("/adapter", fields[0]), message, 'set "use_lora": true', key=True)
