"""Check the data before anything starts, streaming, in constant memory. Imports no torch.

Every error of a file is counted, and the first few are shown. Of a stream, and of files at addresses, only
the first rows are checked, which is reported. Hub sources are checked when the run starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from ptspec.data.checks.row_checks import Use
from ptspec.data.checks.source_pass import Seen, SourcePass, is_looked_at_in_part
from ptspec.data.readers.placed import Item, shown
from ptspec.data.readers.scan import scan
from ptspec.diagnostics import Diagnostic, InputError, Location, Severity
from ptspec.methods.types import Rows
from ptspec.recipe.plan import Plan
from ptspec.recipe.sources import Source, parts_of

LOOKED_AT = 1000
"""Rows of a stream that are checked before a run."""


@dataclass(frozen=True)
class Checked:
    """The errors of the data, a summary of each local source by name, and which were checked in part."""

    diagnostics: list[Diagnostic]
    sources: Mapping[str, Seen]
    notes: tuple[str, ...] = ()


def check_plan(plan: Plan) -> Checked:
    """Check every local source that `plan` uses, reading each once."""
    held_out = held_out_sources(plan)
    uses = _uses(plan)
    seen: dict[str, Seen] = {}
    found: dict[str, list[Diagnostic]] = {}
    prompts: set[int] = set()
    # The held-out rows go first: the others are compared with them.
    for name in sorted(uses, key=lambda name: name not in held_out):
        source = plan.data[name]
        if not isinstance(source, Source) or not (source.paths or source.addresses):
            continue
        scanned = partial(looked_at, source)
        check = SourcePass(source, uses[name], prompts, scanned, is_held_out=name in held_out)
        try:
            found[name], seen[name] = list(check.faults()), check.seen
        except InputError as error:  # a required package is missing, or an address cannot be read
            found[name] = [_unreached(one) for one in error.diagnostics]
            continue
        if is_looked_at_in_part(source):
            check.seen.is_whole = check.seen.rows + check.malformed < LOOKED_AT
    in_order = [diagnostic for name in uses for diagnostic in found.get(name, ())]
    notes = tuple(_in_part(plan, name) for name in uses if name in seen and not seen[name].is_whole)
    return Checked([*in_order, *_label_faults(plan, seen)], seen, notes)


def held_out_sources(plan: Plan) -> set[str]:
    """Return the sources that the evaluation or stages measure.

    Without those that a stage trains on under the same name, which is reported already.
    """
    names = [stage.eval_data for stage in plan.trained if stage.eval_data != stage.data]
    names += [plan.evaluation.data] if plan.evaluation else []
    return {part for name in names if name is not None for part in parts_of(plan.data, name)}


def looked_at(source: Source) -> Iterator[Item]:
    """Yield the rows that are checked."""
    if not is_looked_at_in_part(source):
        return scan(source)
    items = _at_addresses(source) if source.addresses else scan(source)
    return islice(items, min(LOOKED_AT, source.limit or LOOKED_AT))


def _at_addresses(source: Source) -> Iterator[Item]:
    from ptspec.data.stream.pieces import items_in_pieces

    return items_in_pieces(source)


def _unreached(diagnostic: Diagnostic) -> Diagnostic:
    """Return a warning for remote files that do not answer now: they may do so when the run starts."""
    is_elsewhere = diagnostic.code == "unreadable-dataset"
    return replace(diagnostic, severity=Severity.WARNING) if is_elsewhere else diagnostic


def _in_part(plan: Plan, name: str) -> str:
    source = plan.data[name]
    why = "is streamed" if isinstance(source, Source) and source.streaming else "lies elsewhere"
    return f'data "{name}" {why}: its first {LOOKED_AT:,} rows were looked at, others are as they are read'


def _uses(plan: Plan) -> dict[str, list[Use]]:
    uses: dict[str, list[Use]] = {}
    asked = [
        (name, Use(stage.method.name, stage.method.rows))
        for stage in plan.trained
        for name in (stage.data, stage.eval_data)
        if name is not None
    ]
    if plan.evaluation is not None:
        asked.append((plan.evaluation.data, Use("eval", None)))
    for name, use in asked:
        for part in parts_of(plan.data, name):
            if use not in uses.setdefault(part, []):
                uses[part].append(use)
    return uses


def _label_faults(plan: Plan, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Yield stages whose rows are all good, or all bad, over every source that they mix."""
    for stage in plan.trained:
        if stage.method.rows is not Rows.UNPAIRED_PREFERENCE:
            continue
        parts = parts_of(plan.data, stage.data)
        labels = [seen[name].labels or {} for name in parts if name in seen]
        good, bad = (sum(found.get(label, 0) for found in labels) for label in (True, False))
        # For pairs, hub data, streams and invalid labels not every label is known.
        known = [seen[name] for name in parts if name in seen and seen[name].is_whole]
        rows = sum(one.rows for one in known) + len(parts) - len(known)
        if rows == good + bad and bool(good) is not bool(bad):
            source = plan.data[parts[0]]
            file = shown(source.paths[0]) if isinstance(source, Source) and source.paths else ""
            message = f'stage "{stage.name}": every "label" is {str(good > 0).lower()} ({good + bad:,} rows)'
            hint = f"{stage.method.name} learns from answers marked true and from answers marked false"
            yield Diagnostic("labels-alike", message, Location(file), source.at, hint)
