"""Expand a stage's `matrix` into ordinary stages: one variant per combination of its axes' values.

If the stage has a `pick`, the stage that takes over the chosen variant follows. Works on JSON values alone,
so that every reader of a recipe (also of a manifest) gets the same stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby, product
from math import prod
from typing import Any, NamedTuple

from ptspec.recipe.json_pointer import join, split
from ptspec.recipe.plan import Stage, VariantSpec

Value = dict[str, Any]

SEED = "seed"
SECTIONS = ("config", "adapter")
"""Objects of a stage whose fields an axis may vary."""
MOST = 256
"""Maximum variants of a stage; more are probably a typing error."""


class Axis(NamedTuple):
    """An axis: `key` as in the recipe, `steps` to the varied field below its stage.

    `values`: each with its index in the recipe's list.
    """

    key: str
    steps: tuple[str, ...]
    values: tuple[tuple[int, Any], ...]


@dataclass(frozen=True)
class Expanded:
    """The expanded stages.

    `origins`: their pointers -> pointers in the recipe. `variants`: by stage index, which variant it is.
    `picks`: by index of a stage that takes one over, the variants' names. `without_pick`: names of stages
    with a matrix without a pick.
    """

    stages: tuple[Any, ...]
    origins: Mapping[str, str]
    variants: Mapping[int, VariantSpec]
    picks: Mapping[int, tuple[str, ...]]
    without_pick: tuple[str, ...] = ()


def expanded(stages: Sequence[Any], faulty: Set[str] = frozenset()) -> Expanded:
    """Return the expanded `stages` of a recipe. Values at the pointers `faulty` are left out."""
    made: list[Any] = []
    origins: dict[str, str] = {}
    variants: dict[int, VariantSpec] = {}
    picks: dict[int, tuple[str, ...]] = {}
    without_pick: list[str] = []
    for index, given in enumerate(stages):
        at = join("/stages", index)
        found = _combinations(given, at, faulty)
        if found is None:
            origins[join("/stages", len(made))] = at
            made.append(given)
            continue
        name, names = str(given["name"]), []
        for number, chosen in enumerate(found, start=1):
            here = join("/stages", len(made))
            origins[here] = at
            settings = {axis.key: value for axis, _, value in chosen}
            for axis, place, _ in chosen:
                origins[join(here, *axis.steps)] = join(at, "matrix", axis.key, place)
            names.append(f"{name}.{number}")
            variants[len(made)] = VariantSpec(name, number, settings)
            made.append(_variant(given, names[-1], chosen))
        if "pick" in given or join(at, "pick") in faulty:
            origins[join("/stages", len(made))] = at
            picks[len(made)] = tuple(names)
            made.append({**_variant(given, name, found[0]), **_of_pick(given)})
        else:
            without_pick.append(name)
    is_same = len(made) == len(stages) and not variants
    return Expanded(tuple(made), {} if is_same else origins, variants, picks, tuple(without_pick))


def expanded_stages(stages: Any) -> list[Value]:
    """Return the same of a finished run's recipe, as plain values; invalid stages are left out."""
    given = [one for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []
    return [one for one in expanded(given).stages if isinstance(one, dict)]


def names_in_words(stages: Sequence[Stage]) -> list[str]:
    """Return the names of `stages` in order, variants of one stage together: "dpo.1 … dpo.6"."""
    found: list[str] = []
    for _, group in groupby(
        stages, key=lambda stage: stage.variant.of if stage.variant else stage.name + "/"
    ):
        names = [stage.name for stage in group]
        found.append(" … ".join(dict.fromkeys((names[0], names[-1]))))
    return found


def axes_of(given: Any) -> Mapping[str, Any]:
    """Return the axes of a stage's matrix as written; {} if it has none that are valid."""
    matrix = given.get("matrix") if isinstance(given, dict) else None
    if not isinstance(matrix, dict):
        return {}
    return {key: values for key, values in matrix.items() if key != "$comment"}


def steps_of(key: str) -> tuple[str, ...] | None:
    """Return the path of the axis `key` below its stage: of "beta" config/beta; None if invalid."""
    if key == SEED:
        return (SEED,)
    if key.startswith("/"):
        steps = tuple(split(key))
    elif "." in key:
        steps = tuple(key.split("."))
    else:
        return ("config", key) if key else None
    return steps if len(steps) == 2 and steps[0] in SECTIONS and steps[1] else None


def too_many(given: Any) -> int | None:
    """Return the number of variants if it exceeds `MOST`, else None."""
    number = prod(len(values) for values in axes_of(given).values() if isinstance(values, list))
    return number if number > MOST else None


def _combinations(given: Any, at: str, faulty: Set[str]) -> list[tuple[tuple[Axis, int, Any], ...]] | None:
    """Return each combination as its axes with location and value; the last axis varies fastest.

    None if the stage has no valid matrix.
    """
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or too_many(given):
        return None
    axes = [axis for axis in _axes(given, join(at, "matrix"), faulty) if axis.values]
    if not axes:
        return None
    choices = ([(axis, place, value) for place, value in axis.values] for axis in axes)
    return list(product(*choices))


def _axes(given: Value, at: str, faulty: Set[str]) -> Iterator[Axis]:
    taken: set[tuple[str, ...]] = set()
    for key, values in axes_of(given).items():
        steps = steps_of(key)
        where = join(at, key)
        if steps is None or steps in taken or not isinstance(values, list) or where in faulty:
            continue
        taken.add(steps)
        sound = [(i, value) for i, value in enumerate(values) if join(where, i) not in faulty]
        yield Axis(key, steps, tuple(sound))


def _variant(given: Value, name: str, chosen: Sequence[tuple[Axis, int, Any]]) -> Value:
    """Return the stage `given` with the values of one combination."""
    left = ("matrix", "pick") if "pick" not in given else ("matrix", "pick", "checks")
    made = {key: value for key, value in given.items() if key not in left} | {"name": name}
    for axis, _, value in chosen:
        if axis.steps[0] == SEED:
            made[SEED] = value
            continue
        section, field = axis.steps
        made[section] = {**(made.get(section) or {}), field: value}
    return made


def _of_pick(given: Value) -> Value:
    """Return what only the stage that takes over a variant has."""
    return {key: given[key] for key in ("pick", "checks") if key in given}
