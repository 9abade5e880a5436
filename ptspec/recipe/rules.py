"""Resolve evaluation and checks, and check rules between sections of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ptspec.methods.types import Feedback, Yields
from ptspec.metrics import JUDGED, METRICS
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import at as at_pointer
from ptspec.recipe.json_pointer import join
from ptspec.recipe.names import Names, check_known, each, named
from ptspec.recipe.paths import Places
from ptspec.recipe.plan import BASE, CheckSpec, EvaluationSpec, LmEvalSpec, OnFail, Stage
from ptspec.recipe.reward_parts import rewards_of, with_parts
from ptspec.recipe.signals import JudgeSpec, RewardSpec
from ptspec.recipe.sources import AnySource, Source, parts_of

Value = dict[str, Any]


def reward_names(rewards: Sequence[str], findings: Findings) -> None:
    """Report rewards with the name of a metric."""
    for name in rewards:
        if name in METRICS:
            message = f'"{name}" is the name of a metric: the reward\'s figures would stand in its place'
            findings.error("reserved-name", join("/rewards", name), message, "choose another name", key=True)


def trained_rewards(
    stages: Sequence[Stage],
    rewards: Mapping[str, RewardSpec],
    judges: Mapping[str, JudgeSpec],
    findings: Findings,
) -> None:
    """Report reward stages that train after a stage that uses them."""
    before: list[str] = []
    trained = {stage.name for stage in stages}
    for stage in stages:
        for name in rewards_of(stage, judges, rewards):
            model = rewards[name].model if name in rewards else None
            if (
                model in trained
                and model not in before
                and stage.method.feedback not in (Feedback.NONE, Feedback.TEACHER)
            ):
                message = f'"{name}" is the model that stage "{model}" trains, which comes later'
                place = "rewards" if name in with_parts(stage.rewards, rewards) else "judge"
                hint = f'put "{model}" before "{stage.name}"'
                findings.error("unknown-stage", join(stage.at, place), message, hint)
        before.append(stage.name)


def held_out(evaluation: EvaluationSpec | None, stages: Sequence[Stage], findings: Findings) -> None:
    """Warn about an evaluation on data that a stage trains on: it measures memorisation."""
    for stage in stages:
        if evaluation is not None and stage.data == evaluation.data:
            message = f'"{evaluation.data}" is what stage "{stage.name}" trains on: nothing in it is held out'
            hint = "give other rows, which no stage trains on"
            findings.warn("held-out-row", "/eval/data", message, hint)
            return


def streams_held_out(
    evaluation: EvaluationSpec | None,
    data: Mapping[str, AnySource],
    stages: Sequence[Stage],
    findings: Findings,
) -> None:
    """Report a streamed evaluation source: an evaluation measures all its rows."""
    if evaluation is None or evaluation.data not in data:
        return
    trained = {part for stage in stages if stage.data in data for part in parts_of(data, stage.data)}
    for name in parts_of(data, evaluation.data):
        source = data.get(name)
        is_whole = isinstance(source, Source) and source.hub is None and source.limit is None
        if isinstance(source, Source) and source.streaming and is_whole and name not in trained:
            message = f'"streaming" has no effect: all rows of "{name}" are measured'
            findings.warn("unused-key", join(source.at, "streaming"), message, "leave it out", key=True)


def evaluation(
    value: Value | None, names: Names, places: Places, findings: Findings
) -> EvaluationSpec | None:
    """Return the `eval` section; None if it is missing or invalid. Errors are added to `findings`."""
    if value is None:
        return None
    if value.get("judge") is not None:
        check_known(value["judge"], "/eval/judge", "unknown-judge", names.judges, findings)
    for where, name in each(value.get("metrics"), "/eval/metrics"):
        _check_known_metric(name, where, names.rewards, findings)
        _check_judged(name, where, value, findings)
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
        lm_eval=lm_eval(value.get("lm_eval"), places),
        accuracy=accuracy(value.get("accuracy")),
        **rest,
    )


def accuracy(value: Value | None) -> RewardSpec | None:
    """Return the built-in reward, with its options, that decides which responses are right."""
    if value is None or "function" not in value:
        return None
    options = {key: given for key, given in value.items() if key not in ("function", "$comment")}
    return RewardSpec("accuracy", value["function"], options=options, at="/eval/accuracy")


def lm_eval(value: Value | None, places: Places) -> LmEvalSpec | None:
    """Return the `lm_eval` section; None if it is missing or has no tasks."""
    if value is None or "tasks" not in value:
        return None
    tasks = tuple(name for _, name in each(value["tasks"], ""))
    rest = {key: value[key] for key in value if key not in ("tasks", "include_path")}
    folder = value.get("include_path")
    return LmEvalSpec(tasks, include_path=str(places.find(folder) or folder) if folder else None, **rest)


def _check_judged(name: str, at: str, evaluation: Value | None, findings: Findings) -> None:
    if name in JUDGED and isinstance(evaluation, dict) and "judge" not in evaluation:
        findings.error(
            "missing-key", at, f'"{name}" needs a judge', '"eval": {"judge": …}, a name in /judges'
        )


def judge_rules(
    evaluation: EvaluationSpec | None,
    judges: Mapping[str, JudgeSpec],
    rewards: Mapping[str, RewardSpec],
    stages: Sequence[Stage],
    findings: Findings,
) -> None:
    """Report a judge whose reward model trains after the first policy that it judges."""
    judge = judges.get((evaluation.judge or "") if evaluation else "")
    names = [stage.name for stage in stages]
    for name in with_parts([(judge.reward or "") if judge else ""], rewards):
        reward = rewards.get(name)
        if reward is None or reward.model not in names:
            continue
        before = [s.name for s in stages[: names.index(reward.model)] if s.method.yields is Yields.POLICY]
        if not before:
            continue
        message = (
            f'the judge goes by the reward model of stage "{reward.model}", which comes after "{before[0]}"'
        )
        hint = f'put stage "{reward.model}" first, or name another judge'
        findings.error("later-stage", "/eval/judge", message, hint)


PASSED = ("data", "max_new_tokens", "samples", "judge", "sampled", "cluster", "batch_tokens")


def _check_pattern(pattern: str, at: str, findings: Findings) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        findings.error("wrong-pattern", at, f"this is not a regular expression: {error}")


def check_metric(name: str, at: str, rewards: Sequence[str], findings: Findings) -> bool:
    """Return whether `name` is a metric that the evaluation can measure; report what is wrong."""
    before = len(findings.diagnostics)
    _check_known_metric(name, at, rewards, findings)
    _check_judged(name, at, findings.document.value.get("eval"), findings)
    return len(findings.diagnostics) == before


def _check_known_metric(name: str, at: str, rewards: Sequence[str], findings: Findings) -> None:
    known = [*METRICS, *rewards]
    if name.partition("/")[0] in _tasks(findings.document.value) or name.removeprefix("sampled_") in rewards:
        return
    if name not in known:
        hint = did_you_mean(name, known) or f"metrics: {listed(known, 24)}"
        findings.error(
            "unknown-metric", at, f'"{name}" is not a metric', hint, ("a reward's name is one too",)
        )


def _tasks(recipe: Value) -> list[str]:
    """Return the tasks of lm-evaluation-harness, whose metrics are called task/metric."""
    asked = at_pointer(recipe, "/eval/lm_eval/tasks")
    return [name for _, name in each(asked, "") if isinstance(name, str)]


def stage_checks(
    value: Sequence[Any], rewards: Sequence[str], findings: Findings
) -> dict[str, tuple[CheckSpec, ...]]:
    """Return stage name -> its checks. Errors are added to `findings`."""
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
    """Return the run's checks, which apply after the last stage; `over` may name any stage."""
    return tuple(_checks(value, "/checks", stages, rewards, findings))


def _checks(
    value: Sequence[Any] | None,
    at: str,
    before: Sequence[str],
    rewards: Sequence[str],
    findings: Findings,
) -> Iterator[CheckSpec]:
    for index, given in enumerate(value or ()):
        if isinstance(given, dict) and "metric" in given:
            yield check_spec(given, join(at, index), before, rewards, findings)


def check_spec(
    given: Value, at: str, before: Sequence[str], rewards: Sequence[str], findings: Findings
) -> CheckSpec:
    """Return the check `given` at `at`, of a policy after those called `before`."""
    if "eval" not in findings.document.value:
        hint = 'add "eval": {"data": …}'
        findings.error("check-without-eval", at, 'a check needs "eval": nothing is measured', hint)
    check_metric(given["metric"], join(at, "metric"), rewards, findings)
    _check_over(given, at, before, findings)
    if given.get("min") is not None and given.get("max") is not None and given["min"] > given["max"]:
        message = f'"min" {given["min"]} is above "max" {given["max"]}: no value can hold'
        findings.error("contradiction", join(at, "min"), message, "exchange them")
    rest = {key: value for key, value in given.items() if key != "on_fail"}
    return CheckSpec(**rest, on_fail=OnFail(given.get("on_fail", "stop")), at=at)


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


def unused(adapter: Value, stages: Sequence[Stage], findings: Findings) -> None:
    """Warn about LoRA fields of a recipe in which no stage trains an adapter."""
    fields = [key for key in adapter if key not in ("use_lora", "use_qlora", "quantization")]
    if fields and stages and not any(stage.adapter.use_lora for stage in stages):
        message = f'"{fields[0]}" has no effect: no stage uses LoRA, every one trains all weights'
        findings.warn("unused-key", join("/adapter", fields[0]), message, 'set "use_lora": true', key=True)
