"""Find every error of a recipe that can be found without loading a model.

`pt validate` prints the result, and every run starts with it. Imports no torch; modules that few recipes need
are imported on demand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ptspec.checks.accuracy import accuracy_in_words, check_accuracy, held_out_rows
from ptspec.checks.evaluation import check_metrics, mix_in_words
from ptspec.checks.generation_server import check_generation_servers
from ptspec.checks.hub_names import HubChecked, models, sources
from ptspec.checks.learning_rate import check_learning_rates
from ptspec.checks.machine import check_machine
from ptspec.checks.model import check_model, with_plain_text
from ptspec.checks.own_code import code_in_words
from ptspec.checks.reward_columns import check_reward_columns, check_right_answers
from ptspec.checks.stages import check_stages
from ptspec.checks.weights import check_weights
from ptspec.data.checks.plan_data import Checked, check_plan
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.document import Document
from ptspec.recipe.plan import Plan
from ptspec.recipe.resolve import Reading, read_recipe
from ptspec.recipe.schema import in_file_order
from ptspec.rewards.check import check_functions


def preflight(
    path: Path,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    manifest: Path | None = None,
    text: str | None = None,
    *,
    starts: bool = False,
    on_paper: bool = False,
) -> Reading:
    """Read and check the recipe, its rewards, its model and the rows of its data.

    The recipe is the file `path`, the one stored in `manifest`, or `text`. The plan of a recipe with errors
    holds its valid parts. If the run `starts` on this machine, what the machine lacks is an error; a plan
    `on_paper` ignores the machine.
    """
    reading = read_recipe(path, overrides, output, manifest, text)
    plan = reading.plan or reading.partial
    if plan is None or reading.document is None:
        return reading
    document = reading.document
    checked, hub = check_plan(plan), _hub(plan, starts=starts)
    plan = hub.plan
    held_out = held_out_rows(plan, checked.sources)
    told = [
        *check_functions(plan),
        *hub.diagnostics,
        *_model(plan, checked, reading.errors),
        *check_weights(plan),
        *check_machine(plan, starts=starts, on_paper=on_paper),
        *check_generation_servers(plan, starts=starts and not reading.errors),
        *check_metrics(plan, checked.sources, held_out),
        *check_accuracy(plan, held_out),
        *check_reward_columns(plan, checked.sources),
        *check_right_answers(plan, checked.sources),
        *_reward_values(plan, checked),
        *(check_stages(plan, checked.sources) if not reading.errors else ()),
        *(check_learning_rates(plan) if not reading.errors else ()),
        *_variants(plan),
    ]
    here = [_located(d, document) for d in told if d.location is None]
    elsewhere = [d for d in told if d.location is not None]
    rows = _once([_located(d, document) for d in checked.diagnostics])
    unchecked = tuple(replace(one, location=document.locate(one.pointer)) for one in hub.unchecked)
    found = [*in_file_order([*reading.diagnostics, *here]), *elsewhere, *rows]
    if _has_variants(plan):
        from ptspec.checks.matrix import once_a_matrix

        found = once_a_matrix(found, plan)
    faulty = any(diagnostic.severity is Severity.ERROR for diagnostic in found)
    sound = None if faulty or reading.plan is None else with_plain_text(plan)
    said = (*mix_in_words(plan), *checked.notes, *accuracy_in_words(plan, checked.sources, held_out))
    if not starts:
        said = (*said, *code_in_words(plan))
    notes = said if sound is not None else ()
    return replace(reading, plan=sound, diagnostics=tuple(found), unchecked=unchecked, notes=notes)


def _hub(plan: Plan, *, starts: bool) -> HubChecked:
    """What the plan names on the hub, looked at."""
    if not models(plan) and not sources(plan):
        return HubChecked(plan)
    from ptspec.checks.hub import check_hub

    return check_hub(plan, starts=starts)


def _reward_values(plan: Plan, checked: Checked) -> Iterator[Diagnostic]:
    """Values of the rows that rewards are chosen by."""
    if any(reward.by is not None for reward in plan.rewards.values()):
        from ptspec.checks.reward_values import check_reward_values

        yield from check_reward_values(plan, checked.sources)


def _has_variants(plan: Plan) -> bool:
    return any(stage.variant is not None for stage in plan.stages)


def _variants(plan: Plan) -> Iterator[Diagnostic]:
    if _has_variants(plan):
        from ptspec.checks.matrix import check_variants

        yield from check_variants(plan)


def _model(plan: Plan, checked: Checked, errors: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
    """Faults of the model, unless what the recipe says of it is wrong already."""
    if not any((error.pointer or "").startswith("/model") for error in errors):
        found = check_model(plan, checked.sources)
        yield from {(d.pointer, d.message): d for d in found}.values()


def _once(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Drop repeated diagnostics of one place in a file that several sources read."""
    told: dict[object, Diagnostic] = {}
    for one in found:
        told.setdefault((one.severity, one.code, one.message, one.location), one)
    return list(told.values())


def _located(diagnostic: Diagnostic, document: Document) -> Diagnostic:
    """Add the location in the recipe to diagnostics without a location in the data."""
    if diagnostic.location is not None or diagnostic.pointer is None:
        return diagnostic
    return replace(diagnostic, location=document.locate(diagnostic.pointer))
