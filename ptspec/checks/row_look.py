"""Render the first rows of each stage with its chat template and report what differs from the row.

Each finding is reported once per stage, with the first line where it occurred.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from ptspec.checks.stage_rows import first_rows, local_sources
from ptspec.checks.template import check_answer_end, end_of_answer, stops
from ptspec.data.checks.source_pass import Seen
from ptspec.data.layouts.convert import Reading, to_trl
from ptspec.data.layouts.table import layout_for
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.look import Finding, Kind, Look, render_row
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.diagnostics import Diagnostic, Location
from ptspec.methods.types import Rows
from ptspec.recipe.hints import listed
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.shape import ModelShape
from ptspec.recipe.sources import Source

if TYPE_CHECKING:
    from ptspec.checks.refused_rows import Refused

RENDERED = 50
"""Rows of a source that are looked at."""


def look_at_stages(
    plan: Plan, tokenizer: TokenizerFiles, shape: ModelShape | None, seen: Mapping[str, Seen]
) -> Iterator[Diagnostic]:
    """Yield the findings in the first rows of each stage's local sources."""
    embedding = _embedding(plan, tokenizer, shape)
    if not tokenizer.is_template and embedding is None:
        return
    known = stops(tokenizer)
    end = end_of_answer(tokenizer, known) if tokenizer.is_template else None
    look = Look(tokenizer, known | {end.token} if end and end.token else known, embedding)
    # Stages with the same rows in the same columns are checked once.
    takers = {(stage.data, stage.method.rows): stage for stage in plan.trained}
    met = {takes: _met(local_sources(plan, one), takes[1], look, seen) for takes, one in takers.items()}
    if any(one.has_chats for one in met.values()):
        yield from check_answer_end(plan, tokenizer, end)
    for stage in plan.trained:
        never_ends = end is not None and end.token is None  # reported above
        found = met[stage.data, stage.method.rows]
        yield from _refusals(stage, found, look, seen)
        yield from _reports(stage, found, look, (Kind.NO_STOP,) if never_ends else ())


def _met(sources: Sequence[Source], wanted: Rows, look: Look, seen: Mapping[str, Seen]) -> _Met:
    met = _Met()
    for source in sources:
        placed = [row for row in first_rows(seen, source) if isinstance(row, PlacedRow)]
        layout = layout_for(wanted, seen[source.name].columns) if placed else None
        if layout is None:
            continue
        reading = Reading(source.chat and look.tokenizer.is_template, source.system)
        first = placed if look.embedding is not None else placed[:RENDERED]
        places = {(row.file, row.line) for row in first}
        unusual = (row for row in seen[source.name].unusual if isinstance(row, PlacedRow))
        further = [row for row in unusual if (row.file, row.line) not in places]
        looks = chain(zip(repeat(_look_at), first), zip(repeat(_render), further))
        for look_at_row, row in looks:
            met.rows += 1
            try:
                made = list(to_trl(row.values, wanted, layout, reading))
                look_at_row(_Row(row, source), made, look, met)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError):
                continue  # reported by the row checks
    return met


def _embedding(plan: Plan, tokenizer: TokenizerFiles, shape: ModelShape | None) -> int | None:
    """Return the embedding's rows if the tokenizer has more tokens and the embedding is not resized."""
    if shape is None or not tokenizer.can_count or plan.model.additional_special_tokens:
        return None
    return shape.embedded if tokenizer.highest_id >= shape.embedded > 0 else None


def _reports(stage: Stage, met: _Met, look: Look, without: Collection[Kind]) -> Iterator[Diagnostic]:
    if met.conversation is not None and "assistant_only_loss" not in stage.config:
        from ptspec.checks.look_messages import user_turns_learned

        yield met.conversation.place(user_turns_learned(stage, look.tokenizer))
    for finding, (first, count) in met.merged().items():
        if finding.kind in without:
            continue
        from ptspec.checks.look_messages import finding_message

        note = f"{count:,} of the first {met.rows:,} rows" if met.rows > 1 else ""
        yield replace(first.place(finding_message(stage, finding, look)), notes=(note,) if note else ())


class _Row(NamedTuple):
    """A row and its source."""

    placed: PlacedRow
    source: Source

    def place(self, diagnostic: Diagnostic) -> Diagnostic:
        return replace(diagnostic, location=Location(shown(self.placed.file), self.placed.line))


@dataclass
class _Met:
    """Findings in the rows of stages. `conversation` is the first row whose user turns are learned."""

    rows: int = 0
    has_chats: bool = False
    findings: dict[Finding, tuple[_Row, int]] = field(default_factory=dict)
    refused: dict[str, tuple[Source, list[Refused]]] = field(default_factory=dict)
    conversation: _Row | None = None

    def add(self, finding: Finding, row: _Row) -> None:
        first, count = self.findings.get(finding, (row, 0))
        self.findings[finding] = (first, count + 1)

    def refuse(self, row: _Row, error: CannotRender, columns: Mapping[str, Any]) -> None:
        from ptspec.checks.refused_rows import Refused

        _, refused = self.refused.setdefault(row.source.name, (row.source, []))
        refused.append(Refused(row.placed, error, columns))

    def merged(self) -> dict[Finding, tuple[_Row, int]]:
        """Return one finding per kind, all tokens of a kind in one."""
        found: dict[Kind | Finding, tuple[list[str], _Row, int]] = {}
        for finding, (row, count) in self.findings.items():
            key = finding if finding.kind is Kind.LEFT_OUT else finding.kind
            whats, first, most = found.get(key, ([], row, 0))
            found[key] = ([*whats, finding.what], first, max(most, count))
        kinds = {key: key.kind if isinstance(key, Finding) else key for key in found}
        joined = (Kind.SPLIT, Kind.BEYOND)
        return {
            Finding(kinds[key], listed(whats, 6) if kinds[key] in joined else whats[0]): (row, count)
            for key, (whats, row, count) in found.items()
        }


def _look_at(row: _Row, made: Sequence[Mapping[str, Any]], look: Look, met: _Met) -> None:
    """Check the TRL-format rows made of one row."""
    found: dict[Finding, None] = {}
    for one in made:
        met.has_chats = met.has_chats or look.is_chat(one)
        try:
            found |= dict.fromkeys(look.findings(one))
        except CannotRender as error:
            met.refuse(row, error, one)
            return
        if met.conversation is None and "messages" in one:
            met.conversation = row
    for finding in found:
        met.add(finding, row)


def _render(row: _Row, made: Sequence[Mapping[str, Any]], look: Look, met: _Met) -> None:
    """Only check whether the template accepts a row, for rows of an unusual form."""
    for one in made:
        try:
            render_row(one, look.tokenizer)
        except CannotRender as error:
            met.refuse(row, error, one)
            return


def _refusals(stage: Stage, met: _Met, look: Look, seen: Mapping[str, Seen]) -> Iterator[Diagnostic]:
    """Return chats that the template refuses: some accept no system message, others no tools."""
    for source, refused in met.refused.values():
        from ptspec.checks.refused_rows import refused_rows

        note = f"{len(refused)} of the first {met.rows} rows are refused"
        rows, who = seen[source.name].rows, f'stage "{stage.name}": '
        yield from refused_rows(source, refused, rows, note, look.tokenizer, who=who)
