"""Resolve the stages of a recipe, in order: what each refers to, and what it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptspec import methods
from ptspec.methods.merge import NAME as MERGE
from ptspec.methods.types import Feedback, Method, Yields
from ptspec.recipe import second_models, sections
from ptspec.recipe.adapters import adapter_spec
from ptspec.recipe.findings import Findings
from ptspec.recipe.handovers import handover
from ptspec.recipe.hints import listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.matrix import Expanded
from ptspec.recipe.names import Chain, Names, check_known, check_slug, each, named
from ptspec.recipe.outside import outside
from ptspec.recipe.paths import Places
from ptspec.recipe.plan import BASE, AdapterSpec, ModelSpec, Stage
from ptspec.recipe.signals import SecondModel

Value = dict[str, Any]


def stages(
    expanded: Expanded,
    adapter: Value,
    compute: Value,
    names: Names,
    model: ModelSpec | None,
    places: Places,
    findings: Findings,
) -> tuple[Stage, ...]:
    """Return the stages, in order; an invalid one may be left out. Errors are added to `findings`."""
    folder = Path(model.path) if model is not None and model.local else None
    value = expanded.stages
    chain = Chain({name: given.get("method") for _, name, given in named(value)}, folder)
    chain.matrix_of = {name: v.of for i, name, _ in named(value) if (v := expanded.variants.get(i))}
    chain.without_pick = expanded.without_pick
    for index, name, given in named(value):
        at = join("/stages", index)
        check_slug(chain.own(name), join(at, "name"), findings, "stage")
        if name in chain.before:
            first = next(i for i, other, _ in named(value) if other == name)
            where = findings.locate(join("/stages", first, "name"))
            hint = f"the first is at line {where.line}" if where.line else None
            findings.error("duplicate-name", join(at, "name"), f'two stages are called "{name}"', hint)
            continue
        if given.get("method") == MERGE:
            from ptspec.recipe.merges import merged

            made = merged(name, given, at, compute, model, chain, places, findings)
        else:
            _check_names(given, at, names, findings)
            made = _stage(name, given, at, adapter, compute, chain, places, findings)
        if made is not None:
            chain.done[name] = made
        chain.before.append(name)
    return tuple(chain.done.values())


def _check_names(given: Value, at: str, names: Names, findings: Findings) -> None:
    if given.get("data") is not None:
        check_known(given["data"], join(at, "data"), "unknown-data", names.data, findings)
    if given.get("eval_data") is not None:
        check_known(given["eval_data"], join(at, "eval_data"), "unknown-data", names.data, findings)
    if given.get("judge") is not None:
        check_known(given["judge"], join(at, "judge"), "unknown-judge", names.judges, findings)
    for where, name in each(given.get("rewards"), join(at, "rewards")):
        check_known(name, where, "unknown-reward", names.rewards, findings)


def _stage(
    name: str,
    given: Value,
    at: str,
    adapter: Value,
    compute: Value,
    chain: Chain,
    places: Places,
    findings: Findings,
) -> Stage | None:
    if findings.given(join(at, "of")) is not None:
        message = '"of" names the parts of a merge, and this stage trains'
        hint = f'"method": "{MERGE}", or leave it out'
        findings.error("unknown-key", join(at, "of"), message, hint, key=True)
    parent = _parent(name, given, at, chain, places, findings)
    if given.get("method") is None or given.get("data") is None:
        return None
    method = methods.get(given["method"])
    own = adapter_spec(adapter, given.get("adapter"), at, findings)
    _check_feedback(method, name, given, at, findings)
    _check_settled(name, given, own, parent, at, chain, findings)
    return Stage(
        name=name,
        method=method,
        parent=parent,
        handover=handover(name, given, method, own, parent, at, chain, findings),
        data=given["data"],
        adapter=own,
        rewards=tuple(text for _, text in each(given.get("rewards"), "")),
        judge=given.get("judge"),
        teacher=_teacher(name, given.get("teacher"), join(at, "teacher"), chain, places, findings),
        config=given.get("config", {}),
        compute=sections.compute(compute, given.get("compute")),
        eval_data=given.get("eval_data"),
        seed=given.get("seed"),
        at=at,
    )


def _teacher(
    name: str, given: str | Value | None, at: str, chain: Chain, places: Places, findings: Findings
) -> SecondModel | None:
    """Return the teacher of `stage`; one that a stage trains must come before."""
    named = given if isinstance(given, dict) else {"model": given}
    text, where = named.get("model"), join(at, "model") if isinstance(given, dict) else at
    if text is None:
        return None
    if text == BASE:
        return SecondModel(BASE, None, where, shares_base=True)
    if text not in chain.before and text in chain.methods:
        what = "itself" if text == name else f'"{text}", which comes later'
        there = f"stages before it: {listed(chain.before)}" if chain.before else "it is the first"
        findings.error("unknown-stage", where, f'stage "{name}" has as its teacher {what}', there)
        return None
    earlier = {one: chain.methods[one] for one in chain.before}
    found = second_models.resolve(text, Yields.POLICY, where, places, earlier, findings)
    revision = named.get("revision")
    if revision is not None and found is not None and (found in earlier or Path(found).is_absolute()):
        message = '"revision" is of models on the hub only; this one is a folder or a stage'
        findings.warn("unused-key", join(at, "revision"), message, key=True)
    done = chain.done.get(text)
    return SecondModel(str(found), revision, where, done is not None and done.adapter.use_lora)


def _parent(name: str, given: Value, at: str, chain: Chain, places: Places, findings: Findings) -> str:
    """Return what the stage starts from; of an invalid reference the default."""
    text, where = given.get("from"), join(at, "from")
    earlier = chain.policies(name)
    others = [one for one in chain.before if chain.own(one) != chain.own(name)]
    default = BASE if methods.trains_reward_model(given.get("method")) or not earlier else earlier[-1]
    if (default if text is None else text) in chain.without_pick:
        handed = str(default if text is None else text)
        message = (
            f'stage "{name}" would start from "{handed}", whose matrix has no "pick": it hands nothing on'
        )
        hint = f'"pick": {{"metric": …}} in "{handed}", or "from": "{handed}.1", one of its variants'
        findings.error("matrix-without-pick", where if text is not None else at, message, hint)
        return BASE
    if text is None or text == BASE:
        return default if text is None else BASE
    if text in chain.before and chain.own(text) != chain.own(name):
        if methods.trains_reward_model(chain.methods[text]):
            message = f'stage "{name}" starts from "{text}", which trains a reward model, not a policy'
            hint = f"stages that yield a policy: {listed(earlier) or 'none'}"
            findings.error("not-a-policy", where, message, hint)
            return default
        return str(text)
    if text == name or text in chain.methods:
        what = "itself" if chain.own(text) == chain.own(name) else f'"{text}", which comes later'
        hint = f"stages before it: {listed(others)}" if others else "it is the first: leave it out"
        findings.error("unknown-stage", where, f'stage "{name}" starts from {what}', hint)
        return default
    says = f'stage "{name}" starts from "{text}"'
    return outside(says, text, where, chain, places, findings) or default


def _check_settled(
    name: str, given: Value, own: AdapterSpec, parent: str, at: str, chain: Chain, findings: Findings
) -> None:
    """Report a reference to variants with different adapters, unknown until one is picked."""
    variants = [stage for other, stage in chain.done.items() if chain.matrix_of.get(other) == parent]
    differ = any(stage.adapter.lora != variants[0].adapter.lora for stage in variants)
    if differ and own.use_lora and given.get("handover") not in ("merge", "stack"):
        message = (
            f'the variants of "{parent}" have other adapters: "{name}" cannot continue whichever is picked'
        )
        hint = '"handover": "merge" starts a new adapter over any of them'
        findings.error("handover-mismatch", at, message, hint)


def _check_feedback(method: Method, name: str, given: Value, at: str, findings: Findings) -> None:
    has_rewards, has_judge = bool(given.get("rewards")), given.get("judge") is not None
    if method.feedback is Feedback.REWARDS and not has_rewards:
        hint = '"rewards": [names in /rewards]'
        findings.error("missing-reward", at, f'stage "{name}" ({method.name}) needs a reward', hint)
    if method.feedback is Feedback.JUDGE_OR_REWARDS and not (has_rewards or has_judge):
        hint = '"judge": a name in /judges, or "rewards": [names in /rewards]'
        findings.error(
            "missing-reward", at, f'stage "{name}" ({method.name}) needs a judge or a reward', hint
        )
    has_teacher = given.get("teacher") is not None
    if method.feedback is Feedback.TEACHER and not has_teacher:
        hint = '"teacher": an earlier stage, a folder with a model, or a hub id, with the same vocabulary'
        findings.error("missing-teacher", at, f'stage "{name}" ({method.name}) needs a teacher', hint)
    scored = (Feedback.REWARDS, Feedback.JUDGE_OR_REWARDS)
    unused = [("rewards", has_rewards and method.feedback not in scored)]
    unused += [("judge", has_judge and method.feedback is not Feedback.JUDGE_OR_REWARDS)]
    unused += [("teacher", has_teacher and method.feedback is not Feedback.TEACHER)]
    for key, is_unused in unused:
        if is_unused:
            message = f'"{key}" has no effect: {method.name} does not ask for one while it trains'
            findings.warn("unused-key", join(at, key), message, key=True)
