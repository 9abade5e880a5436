"""Resolve a recipe to a plan: the only way from a file to what later code reads.

`read_recipe` finds every error that can be found without loading data or a model; `load_plan` raises them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, InputError, Severity, Unchecked
from ptspec.recipe import compute_rules, config_rules, matrix_rules, rules, sections, stage_evaluation_rules
from ptspec.recipe.document import Document, parse, read_document
from ptspec.recipe.findings import Findings
from ptspec.recipe.handovers import check_new_tokens
from ptspec.recipe.json_pointer import at, split, strings_in
from ptspec.recipe.matrix import Expanded, expanded
from ptspec.recipe.names import WINDOWS_DEVICES, Names, check_slug, named
from ptspec.recipe.paths import Places
from ptspec.recipe.plan import ModelSpec, Performance, Plan, Stage
from ptspec.recipe.schema import check, in_file_order
from ptspec.recipe.sources import AnySource, Source
from ptspec.recipe.stages import stages
from ptspec.secrets import secret_in

VERSION = 1
"""Version of the recipe language."""

SEED = 42

Value = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """The result of reading a recipe.

    `plan` is None if any diagnostic is an error. `partial` is the plan without its invalid parts (None if the
    recipe is not JSON or of a newer version), only for finding more errors. `unchecked`: hub names that could
    not be checked; `notes`: decisions that the recipe leaves open.
    """

    plan: Plan | None
    diagnostics: tuple[Diagnostic, ...]
    document: Document | None = None
    partial: Plan | None = None
    unchecked: tuple[Unchecked, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are errors."""
        return tuple(d for d in self.diagnostics if d.severity is Severity.ERROR)


def load_plan(path: Path, overrides: Sequence[str] = (), output: Path | None = None) -> Plan:
    """Return the plan of a recipe. Raises `InputError` with every error at once; drops warnings."""
    reading = read_recipe(path, overrides, output)
    if reading.plan is None:
        raise InputError(*reading.errors)
    return reading.plan


def read_recipe(
    path: Path,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    manifest: Path | None = None,
    text: str | None = None,
) -> Reading:
    """Read, check and resolve a recipe; errors are returned, not raised.

    With `manifest` the recipe stored there, with `text` that text; `path` then decides what relative paths
    refer to.
    """
    document = None
    try:
        if text is not None:
            document = parse(text, path.name)
        else:
            document = read_document(path) if manifest is None else read_document(manifest).within("/recipe")
        document = matrix_rules.with_axes(_overridden(document, overrides))
    except InputError as error:
        return Reading(None, error.diagnostics, document)
    version = document.value.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        return Reading(None, (_too_new(version, document),), document)
    faults = _read_once(document)
    findings = Findings(
        document, frozenset(d.pointer for d in faults if d.pointer and d.code != "missing-key")
    )
    plan = replace(_resolve(_usable(document, faults), path, output, findings), manifest=manifest)
    found = in_file_order(_told_once([*faults, *findings.diagnostics]))
    faulty = any(d.severity is Severity.ERROR for d in found)
    return Reading(None if faulty else plan, tuple(found), document, _sound(plan))


def _overridden(document: Document, overrides: Sequence[str]) -> Document:
    """Return `document` with `overrides`. Raises `InputError`."""
    if not overrides:
        return document
    from ptspec.recipe.overrides import override

    return override(document, overrides)


def _sound(plan: Plan) -> Plan:
    """Return `plan` without references to sources that do not exist."""
    data = {name: source for name, source in plan.data.items() if _is_whole(source, plan.data)}
    evaluation = plan.evaluation if plan.evaluation and plan.evaluation.data in data else None
    stages = tuple(
        stage if stage.eval_data in data else replace(stage, eval_data=None)
        for stage in plan.stages
        if stage.data in data or stage.merge is not None
    )
    return replace(plan, data=data, evaluation=evaluation, stages=stages)


def _is_whole(source: AnySource, data: Mapping[str, AnySource]) -> bool:
    return isinstance(source, Source) or all(isinstance(data.get(part), Source) for part in source.parts)


def _too_new(version: int, document: Document) -> Diagnostic:
    message = f"this recipe is of version {version}; this program knows version {VERSION}"
    where = document.locate("/version")
    return Diagnostic("newer-version", message, where, "/version", "upgrade: pip install -U ptspec")


def _read_once(document: Document) -> list[Diagnostic]:
    """Return syntax and schema errors; a value that could not be read is not checked for its type."""
    unread = {fault.pointer for fault in document.faults if fault.code != "duplicate-key"}
    read = (fault for fault in check(document) if fault.pointer not in unread)
    of_axes = (fault for fault in matrix_rules.value_faults(document) if fault.pointer not in unread)
    return [*document.faults, *_secrets(document), *read, *of_axes]


def _secrets(document: Document) -> Iterator[Diagnostic]:
    """Report keys and passwords: a recipe is stored, shown and shared as it is."""
    for pointer, text in strings_in(document.value):
        if (what := secret_in(text)) is not None:
            message = f"this holds {what}, which a run would keep in its folder"
            hint = "a secret belongs in an environment variable"
            yield Diagnostic("secret-in-recipe", message, document.locate(pointer), pointer, hint)


def _told_once(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics without repetitions of an adapter's error at every stage."""
    return list({(d.pointer, d.message): d for d in diagnostics}.values())


def _usable(document: Document, faults: Sequence[Diagnostic]) -> Value:
    """Return the recipe without comments and invalid parts, so that the rest can be checked."""
    value: Value = _plain(document.value)
    for fault in faults:
        if not fault.pointer or fault.code in ("missing-key", "duplicate-key"):
            continue
        above, _, _ = fault.pointer.rpartition("/")
        parent, key = at(value, above), split(fault.pointer)[-1]
        if isinstance(parent, dict):
            parent.pop(key, None)
        elif isinstance(parent, list) and key.isdecimal() and int(key) < len(parent):
            parent[int(key)] = None
    return value


def _plain(value: Any) -> Any:
    """Return a copy without `$comment`."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "$comment"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _resolve(value: Value, path: Path, output: Path | None, findings: Findings) -> Plan:
    working = Path.cwd()
    places = Places(working, (working / path).parent)
    matrix_rules.check_matrices(value.get("stages") or (), findings)
    made = expanded(value.get("stages") or (), findings.known)
    findings.origins, findings.renamed = made.origins, matrix_rules.renamed(made)
    names = Names(*(_keys(findings.document, section) for section in ("data", "rewards", "judges")))
    methods = {name: str(given.get("method")) for _, name, given in named(made.stages)}
    model = sections.model(value.get("model"), places, findings)
    seed = value.get("seed", SEED)
    data = sections.data(value.get("data") or {}, seed, places, findings)
    rewards = sections.rewards(value.get("rewards") or {}, places, methods, findings)
    judges = sections.judges(value.get("judges") or {}, places, names.rewards, findings)
    compute = sections.compute(value.get("compute") or {})
    resolved = matrix_rules.with_variants(
        _stages(value, made, names, model, places, findings), made, rewards, findings
    )
    trained = [stage for stage in resolved if stage.merge is None]
    for stage in trained:
        config_rules.stage_rules(stage, data, stage.compute, findings)
        stage_evaluation_rules.check(stage, data, findings)
    name = _name(value, path, findings)
    evaluation = rules.evaluation(value.get("eval"), names, places, findings)
    compute_rules.check(compute, resolved, evaluation, findings)
    rules.trained_rewards(resolved, rewards, judges, findings)
    rules.reward_names(names.rewards, findings)
    rules.held_out(evaluation, trained, findings)
    stage_evaluation_rules.chosen_by(evaluation, trained, findings)
    rules.streams_held_out(evaluation, data, trained, findings)
    check_new_tokens(model, trained, findings)
    rules.judge_rules(evaluation, judges, rewards, resolved, findings)
    return Plan(
        name=name,
        description=value.get("description", ""),
        seed=seed,
        model=model or ModelSpec("", local=False),
        data=data,
        rewards=rewards,
        judges=judges,
        stages=tuple(matrix_rules.in_recipe(stage, findings) for stage in resolved),
        evaluation=evaluation,
        checks=rules.run_checks(value.get("checks"), list(methods), names.rewards, findings),
        compute=compute,
        tracking=sections.tracking(value.get("tracking") or {}),
        output=(working / (output or Path("outputs") / name)).absolute(),
        recipe=(working / path).absolute(),
        document=findings.document.value,
        performance=Performance(value.get("performance", Performance.AUTO.value)),
    )


def _stages(
    value: Value,
    made: Expanded,
    names: Names,
    model: ModelSpec | None,
    places: Places,
    findings: Findings,
) -> tuple[Stage, ...]:
    adapter, compute = value.get("adapter") or {}, value.get("compute") or {}
    resolved = stages(made, adapter, compute, names, model, places, findings)
    checks = rules.stage_checks(made.stages, names.rewards, findings)
    rules.unused(adapter, resolved, findings)
    return tuple(replace(stage, checks=checks[stage.name]) for stage in resolved)


def _keys(document: Document, section: str) -> list[str]:
    """Return the names in a section, invalid ones too: referring to those is not another error."""
    given = document.value.get(section)
    return [key for key in given if key != "$comment"] if isinstance(given, dict) else []


def _name(value: Value, path: Path, findings: Findings) -> str:
    """Return the recipe's name, or its file's if that is a valid folder name."""
    if "name" in value:
        name = str(value["name"])
        check_slug(name, "/name", findings, "recipe")
        return name
    made = "".join(char if char.isascii() and char.isalnum() else "_" for char in path.stem.lower()).strip(
        "_"
    )
    made = made[:64] or "recipe"
    return f"{made}_" if made in WINDOWS_DEVICES else made
