"""Faults in the data, found before anything starts: streaming, in constant memory, without torch.

Every fault of a file is counted, the first few are shown. Sources on a hub are checked when the run starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ptspec.data.checks.row_checks import Use
from ptspec.data.checks.source_pass import Seen, SourcePass
from ptspec.data.readers.placed import shown
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.methods.types import Rows
from ptspec.recipe.plan import Plan, Source, parts_of


@dataclass(frozen=True)
class Checked:
    """The faults of the data, and what was seen of each local source by its name."""

    diagnostics: list[Diagnostic]
    sources: Mapping[str, Seen]


def check_plan(plan: Plan) -> Checked:
    """Every fault of every local source that `plan` uses, each source read once."""
    held_out = parts_of(plan.data, plan.evaluation.data) if plan.evaluation else ()
    uses = _uses(plan)
    seen: dict[str, Seen] = {}
    found: dict[str, list[Diagnostic]] = {}
    prompts: set[int] = set()
    # The held-out rows go first: the others are compared with them.
    for name in sorted(uses, key=lambda name: name not in held_out):
        source = plan.data[name]
        if not isinstance(source, Source) or not source.paths:
            continue
        check = SourcePass(source, uses[name], prompts, is_held_out=name in held_out)
        try:
            found[name], seen[name] = list(check.faults()), check.seen
        except InputError as error:  # a package is missing that the file needs
            found[name] = list(error.diagnostics)
    in_order = [diagnostic for name in uses for diagnostic in found.get(name, ())]
    return Checked([*in_order, *_label_faults(plan, seen)], seen)


def _uses(plan: Plan) -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {}
    asked = [(stage.data, Use(stage.method.name, stage.method.rows)) for stage in plan.stages]
    if plan.evaluation is not None:
        asked.append((plan.evaluation.data, Use("eval", None)))
    for name, use in asked:
        for part in parts_of(plan.data, name):
            if use not in uses.setdefault(part, []):
                uses[part].append(use)
    return uses


def _label_faults(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Stages whose rows are all good, or all bad, over every source that they mix."""
    for stage in plan.stages:
        if stage.method.rows is not Rows.UNPAIRED_PREFERENCE:
            continue
        parts = parts_of(plan.data, stage.data)
        labels = [seen[name].labels or {} for name in parts if name in seen]
        good, bad = (sum(found.get(label, 0) for found in labels) for label in (True, False))
        # Where a source is of pairs or on a hub, or a label is none, not every label is known.
        rows = sum(seen[name].rows if name in seen else 1 for name in parts)
        if rows == good + bad and bool(good) is not bool(bad):
            source = plan.data[parts[0]]
            file = shown(source.paths[0]) if isinstance(source, Source) else ""
            message = f'stage "{stage.name}": every "label" is {str(good > 0).lower()} ({good + bad:,} rows)'
            hint = f"{stage.method.name} learns from answers marked true and from answers marked false"
            yield Diagnostic("labels-alike", message, Location(file), source.at, hint)
