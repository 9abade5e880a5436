"""Check a stage's `matrix` and `pick`, and attach them to the plan's stages.

Each value of an axis is checked with the schema of its field, at its own location.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from ptspec.diagnostics import Diagnostic, Location
from ptspec.methods.types import Yields
from ptspec.metrics import PAIR_METRICS, Better, metric
from ptspec.recipe.document import Document
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import at, join
from ptspec.recipe.matrix import MOST, SEED, Expanded, axes_of, steps_of, too_many
from ptspec.recipe.merge_spec import MergeSpec
from ptspec.recipe.plan import PickSpec, Stage
from ptspec.recipe.rules import check_metric, check_spec
from ptspec.recipe.schema import check

Value = dict[str, Any]


def value_faults(document: Document) -> list[Diagnostic]:
    """Return the schema errors in the values of axes, each at its location."""
    tried = list(_tried(document))
    if not tried:
        return []
    overlay = {one.pointer: (one.key, one.place) for one in tried}
    value = {**document.value, "stages": [one.stage for one in tried]}
    below = {join("/stages", number): one for number, one in enumerate(tried)}
    found: dict[tuple[str, str], Diagnostic] = {}
    for told in check(replace(document, value=value, overlay={**document.overlay, **overlay})):
        pointer = told.pointer or ""
        one = below.get("/".join(pointer.split("/")[:3]))
        if one is None or not f"{pointer}/".startswith(f"{one.pointer}/"):
            continue
        if told.code in ("unknown-key", "owned-key"):
            moved, where = one.axis, one.key
        else:
            moved, where = one.origin + pointer.removeprefix(one.pointer), one.place
        found.setdefault((moved, told.code), replace(told, pointer=moved, location=where))
    return list(found.values())


@dataclass(frozen=True)
class _Tried:
    """A value in its field: `stage` with it, and the field's `pointer`.

    `axis` and `origin`: pointers of axis and value in the recipe; `key` and `place`: their locations in the
    file.
    """

    stage: Value
    pointer: str
    axis: str
    origin: str
    key: Location
    place: Location


def _tried(document: Document) -> Iterator[_Tried]:
    stages, number = document.value.get("stages"), 0
    for index, given in enumerate(stages if isinstance(stages, list) else []):
        for key, values in axes_of(given).items():
            steps = steps_of(key)
            if steps is None or steps == (SEED,) or not isinstance(values, list):
                continue
            axis = join("/stages", index, "matrix", key)
            for place, value in enumerate(values):
                section = given.get(steps[0])
                held = section if isinstance(section, dict) else {}
                stage = {k: v for k, v in given.items() if k not in ("matrix", "pick", "checks")}
                stage[steps[0]] = {**held, steps[1]: value}
                origin = join(axis, place)
                yield _Tried(
                    stage,
                    join("/stages", number, *steps),
                    axis,
                    origin,
                    document.locate(axis, key=True),
                    document.locate(origin),
                )
                number += 1


def with_axes(document: Document) -> Document:
    """Return `document` in which a varied field is located at its axis, unless it has its own location."""
    overlay = dict(document.overlay)
    stages = document.value.get("stages")
    for index, given in enumerate(stages if isinstance(stages, list) else []):
        for key in axes_of(given):
            steps, axis = steps_of(key), join("/stages", index, "matrix", key)
            field = join("/stages", index, *(steps or ()))
            if steps is not None and steps != (SEED,) and at(document.value, field) is None:
                overlay[field] = document.locate(axis, key=True), document.locate(axis)
    return replace(document, overlay=overlay)


def check_matrices(stages: Sequence[Any], findings: Findings) -> None:
    """Report the errors in the matrices of a recipe and their picks. `stages`: as written."""
    for index, given in enumerate(stages):
        if not isinstance(given, dict):
            continue
        where = join("/stages", index)
        if "pick" in given and "matrix" not in given:
            message = '"pick" chooses among the variants of a matrix, and there is none'
            hint = '"matrix": {"beta": [0.05, 0.1]}, or leave it out'
            findings.error("pick-without-matrix", join(where, "pick"), message, hint, key=True)
        _check_axes(given, where, findings)
        if (number := too_many(given)) is not None:
            message = f"this makes {number:,} variants: at most {MOST}"
            hint = "fewer values, or fewer axes"
            findings.error("too-many-variants", join(where, "matrix"), message, hint, key=True)


def _check_axes(given: Value, where: str, findings: Findings) -> None:
    taken: dict[tuple[str, ...], str] = {}
    for key, values in axes_of(given).items():
        at_axis, steps = join(where, "matrix", key), steps_of(key)
        if steps is None:
            message = f'"{key}" is not an axis'
            hint = 'an axis is a field of the stage\'s config, "seed", or a field of its adapter: "adapter.r"'
            findings.error("bad-axis", at_axis, message, hint, key=True)
            continue
        if steps in taken:
            message = f'"{key}" and "{taken[steps]}" are the same field'
            findings.error("contradiction", at_axis, message, "keep one", key=True)
        taken[steps] = key
        _check_repeated(values, at_axis, findings)
        section = given.get(steps[0])
        if steps != (SEED,) and isinstance(section, dict) and steps[1] in section:
            from ptspec.recipe.wording import shown

            place = join(where, *steps)
            message = f'"{steps[1]}" {shown(section[steps[1]])} is not used: the matrix gives its values'
            findings.warn("unused-key", place, message, "leave it out, or put it among the values", key=True)


def _check_repeated(values: Any, at_axis: str, findings: Findings) -> None:
    seen: list[Any] = []
    for index, value in enumerate(values if isinstance(values, list) else []):
        if any(_is_same(value, other) for other in seen):
            from ptspec.recipe.wording import shown

            message = f"{shown(value)} stands in this axis twice: a variant would be trained twice"
            findings.error("repeated-item", join(at_axis, index), message, "keep one")
        seen.append(value)


def _is_same(value: Any, other: Any) -> bool:
    """Return whether two values are equal: 1 equals 1.0, but not true."""
    return isinstance(value, bool) is isinstance(other, bool) and bool(value == other)


def with_variants(
    stages: Sequence[Stage], expanded: Expanded, rewards: Mapping[str, Any], findings: Findings
) -> tuple[Stage, ...]:
    """Return `stages`, resolved from those of `expanded`, with their variants and picks.

    `rewards`: the recipe's.
    """
    by_at = {join("/stages", index): variant for index, variant in expanded.variants.items()}
    picks = {join("/stages", index): names for index, names in expanded.picks.items()}
    found: list[Stage] = []
    for stage in stages:
        pick = None
        if stage.at in picks:
            index = int(stage.at.rpartition("/")[2])
            before = [other.name for other in found]
            pick = _pick(
                expanded.stages[index].get("pick"), stage, picks[stage.at], before, rewards, findings
            )
        found.append(replace(stage, variant=by_at.get(stage.at), pick=pick))
    return tuple(found)


def _pick(
    given: Any,
    stage: Stage,
    variants: tuple[str, ...],
    before: Sequence[str],
    rewards: Mapping[str, Any],
    findings: Findings,
) -> PickSpec | None:
    where = join(stage.at, "pick")
    if not isinstance(given, dict):
        return None
    if "eval" not in findings.document.value:
        message = '"pick" needs "eval": nothing is measured that it could choose by'
        findings.error("pick-without-eval", where, message, 'add "eval": {"data": …}', key=True)
    metric = given.get("metric")
    if not isinstance(metric, str):
        return None
    _check_pick_metric(metric, join(where, "metric"), stage, rewards, findings)
    earlier = [name for name in before if name not in variants]
    keep = tuple(
        check_spec(one, place, earlier, list(rewards), findings)
        for place, one in _kept(given.get("keep"), join(where, "keep"))
    )
    return PickSpec(metric, variants, keep, where)


def _kept(given: Any, where: str) -> Iterator[tuple[str, Value]]:
    """Return the checks of `keep`: a list, a single one, or bounds by metric."""
    if isinstance(given, list):
        for index, one in enumerate(given):
            if isinstance(one, dict) and "metric" in one:
                yield join(where, index), one
    elif isinstance(given, dict) and isinstance(given.get("metric"), str):
        yield where, given
    elif isinstance(given, dict):
        for metric, one in given.items():
            if isinstance(one, dict):
                yield join(where, metric), {"metric": metric, **one}


def _check_pick_metric(
    name: str, where: str, stage: Stage, rewards: Mapping[str, Any], findings: Findings
) -> None:
    """Report a pick's metric that is not measured, or has no better direction."""
    if not check_metric(name, where, list(rewards), findings):
        return
    if metric(name).better is Better.NEITHER:
        message = f'"{name}" has no better end: nothing can be picked by it'
        hint = f'"keep": {{"{name}": {{"max": …}}}} bounds it, and another metric picks'
        findings.error("no-better-end", where, message, hint)
        return
    evaluation = findings.document.value.get("eval")
    why = _not_measured(name, stage, rewards, evaluation if isinstance(evaluation, dict) else {})
    if why is not None:
        findings.error("not-measured", where, f'"{name}" is not measured: {why[0]}', why[1])


def _not_measured(
    name: str, stage: Stage, rewards: Mapping[str, Any], evaluation: Value
) -> tuple[str, str] | None:
    """Return why the evaluation does not measure a metric, and a hint."""
    is_of_pairs, trains_reward = name in PAIR_METRICS.values(), stage.method.yields is Yields.REWARD_MODEL
    if is_of_pairs != trains_reward:
        what = "a reward model" if trains_reward else "a policy"
        return f"of {what} it has no meaning", "pair_accuracy is of reward models, and theirs alone"
    asked = evaluation.get("metrics")
    names = [asked] if isinstance(asked, str) else asked
    if isinstance(names, list) and name not in names and "/" not in name:
        near = did_you_mean(name, [one for one in names if isinstance(one, str)])
        return f"eval.metrics are {listed(map(str, names))}", near or f'add "{name}" to eval.metrics'
    spec = rewards.get(name.removeprefix("sampled_"))
    if spec is not None and getattr(spec, "function", None) is None:
        why = "the evaluation measures no reward model, which training may have learned to please"
        return why, "pick by a reward function, by accuracy or by a judge's win_rate"
    if name.startswith("sampled_") and evaluation.get("sampled") == 0:
        return "eval.sampled is 0", 'leave "sampled" out'
    return None


def in_recipe(stage: Stage, findings: Findings) -> Stage:
    """Return `stage` with pointers into the recipe as written."""
    moved: Stage = _moved(stage, findings) if findings.origins else stage
    return moved


def _moved(value: Any, findings: Findings) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(item, findings) for item in value)
    if isinstance(value, MergeSpec):
        return replace(value, parts=_moved(value.parts, findings))
    if not is_dataclass(value) or isinstance(value, type) or not hasattr(value, "at"):
        return value
    within = {one.name: _moved(getattr(value, one.name), findings) for one in fields(value)}
    return replace(value, **{**within, "at": findings.origin(str(value.at))})


def renamed(expanded: Expanded) -> Mapping[str, tuple[str, str]]:
    """Return by pointer a variant's own name and its stage's name in the recipe."""
    return {
        join("/stages", index): (f"{variant.of}.{variant.number}", variant.of)
        for index, variant in expanded.variants.items()
    }
