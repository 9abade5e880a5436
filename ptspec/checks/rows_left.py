"""Check that a stage has a row to train on after bad rows are left out and long ones dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat

from ptspec.checks.stage_rows import StageRows, local_sources
from ptspec.data.checks.fault import Fault
from ptspec.data.checks.row_checks import Use, row_checker
from ptspec.data.checks.source_pass import Items
from ptspec.data.layouts.convert import reading_of
from ptspec.data.readers.placed import PlacedRow
from ptspec.data.readers.scan import scan
from ptspec.data.tokens.lengths import lengths_of
from ptspec.data.tokens.truncation import Truncation, limit
from ptspec.diagnostics import Diagnostic, Severity
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.json_pointer import join
from ptspec.recipe.sources import OnBadRow, Source, parts_of

CHUNKS = (1, 15, 240)
"""Rows tokenised at once; the first row can nearly always be trained on."""

_BAD, _REFUSED, _DROPPED = "bad", "refused by the chat template", "too long and dropped"


@dataclass
class _Lost:
    """Counts of rows that are not trained on, by reason; the longest in tokens; whether all were read."""

    rows: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    is_all: bool = True


def check_rows_left(stage_rows: StageRows, settings: EffectiveConfig) -> Iterator[Diagnostic]:
    """Yield an error for a stage whose rows are all left out or dropped; none if that is unknown.

    Stops reading at the first row that is trained on.
    """
    stage, plan, seen = settings.stage, stage_rows.plan, stage_rows.seen
    sources = local_sources(plan, stage)
    if (
        not stage_rows.tokenizer.can_count
        or not sources
        or len(sources) < len(parts_of(plan.data, stage.data))
    ):
        return
    if any(source.name not in seen or not seen[source.name].rows for source in sources):
        return
    if not all(seen[source.name].is_whole for source in sources):
        return
    if limit(settings) is None and all(source.on_bad_row is OnBadRow.STOP for source in sources):
        return
    lost: Counter[str] = Counter()
    longest = 0
    for source in sources:
        found = stage_rows.once("lost", source, settings, partial(_lost, source, settings, stage_rows))
        if not found.is_all:
            return
        lost += found.rows
        longest = max(longest, found.longest)
    if len(lost) > 1 or _DROPPED in lost:  # rows that are all bad, or all refused, are an error already
        yield _nothing_left(settings, lost, longest)


def _nothing_left(settings: EffectiveConfig, lost: Counter[str], longest: int) -> Diagnostic:
    stage = settings.stage
    why = ", ".join(f"{count:,} are {what}" for what, count in lost.items())
    message = f'stage "{stage.name}": no row is left to learn from: of {lost.total():,} rows, {why}'
    hint = f'"max_length": {longest} takes the long ones' if lost[_DROPPED] else "correct the data"
    place = join(stage.at, "config", "max_length") if "max_length" in stage.config else stage.at
    return Diagnostic("no-rows-left", message, None, place, hint)


def _is_bad(faults: Sequence[Fault]) -> bool:
    return any(fault.severity is Severity.ERROR for fault in faults)


def _lost(source: Source, settings: EffectiveConfig, stage_rows: StageRows) -> _Lost:
    """Return the rows of `source` that are lost before the first that is trained on."""
    lost = _Lost()
    for found, length in _fates(source, settings, stage_rows):
        if found is None:
            lost.is_all = False
            break
        lost.rows[found] += 1
        lost.longest = max(lost.longest, length)
    return lost


def _fates(
    source: Source, settings: EffectiveConfig, stage_rows: StageRows
) -> Iterator[tuple[str | None, int]]:
    """Return for each row of `source` why it is not trained on (None: it is), and its length in tokens."""
    use = Use(settings.stage.method.name, settings.stage.method.rows)
    check = row_checker(use, stage_rows.seen[source.name].columns, reading_of(source))
    items = scan(source)
    for size in chain(CHUNKS, repeat(CHUNKS[-1])):
        chunk = list(islice(items, size))
        if not chunk:
            return
        sound: Items = [one for one in chunk if isinstance(one, PlacedRow) and not _is_bad(check(one.values))]
        yield from ((_BAD, 0) for _ in range(len(chunk) - len(sound)))
        lengths = list(lengths_of(sound, source, settings, stage_rows.tokenizer))
        rows = len({(row.file, row.line) for row in lengths})
        yield from ((_REFUSED, 0) for _ in range(len(sound) - rows))
        for row in lengths:
            yield (_DROPPED if row.truncation is Truncation.DROPPED else None), row.longest
