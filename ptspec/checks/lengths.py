"""Rows too long for a stage: truncated, dropped, or longer than the model's context.

Only the first rows of a source are read, to keep checking fast: `pt plan` reads 5,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ptspec.checks.stage_rows import StageRows
from ptspec.data.readers.placed import shown
from ptspec.data.tokens.lengths import Row
from ptspec.data.tokens.truncation import Truncation, limit
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.json_pointer import join

if TYPE_CHECKING:
    from ptspec.data.tokens.cuts import Cuts


def check_lengths(
    stage_rows: StageRows, settings: EffectiveConfig, context: int | None
) -> Iterator[Diagnostic]:
    """Yield warnings for rows longer than `max_length` or the model's `context`, in tokens."""
    if not stage_rows.tokenizer.can_count:
        return
    most = limit(settings)
    answer = settings.number("max_completion_length", 256) if settings.stage.method.online else 0
    room = context - answer if context and context > answer else None
    lengths = [length for length in (most, room) if length]
    if not lengths:
        return
    room_in_bytes = min(lengths) - stage_rows.added_bytes
    for source in stage_rows.sources(settings.stage):
        seen = stage_rows.seen[source.name]
        if seen.widest < room_in_bytes:
            continue
        floor = max(1, min(lengths) - stage_rows.added_tokens)
        if seen.widest < floor:
            continue
        looked_at, rows = len(stage_rows.first(source)), seen.rows
        is_all = looked_at == rows and seen.is_whole
        about = f"{looked_at:,}" if is_all else f"the first {looked_at:,}"
        found = stage_rows.lengths(source, settings, floor)
        if most is not None and (long := [row for row in found if row.longest > most]):
            from ptspec.data.tokens.cuts import cuts

            yield _cut(settings, cuts(long, settings), long, rows, about)
        over = [row for row in found if room and _length(row, settings, most) > room]
        if over:
            yield _beyond(settings, over, about, context or 0)


def _length(row: Row, settings: EffectiveConfig, most: int | None) -> int:
    """Return the tokens of a row that reach the model, without sampled completions."""
    length = row.prompt if settings.stage.method.online else row.longest
    return length if most is None else min(length, most)


def _cut(settings: EffectiveConfig, found: Cuts, long: list[Row], rows: int, about: str) -> Diagnostic:
    dropped, lost = found.count(Truncation.DROPPED), found.count(Truncation.LOST)
    lines = len({(row.file, row.line) for row in long})
    parts = [f"{dropped:,} dropped" if dropped else "", f"{lost:,} left without an answer" if lost else ""]
    parts += [f"{found.count(Truncation.CUT):,} cut" if found.count(Truncation.CUT) else ""]
    message = (
        f'stage "{settings.stage.name}": {lines:,} of {about} rows are longer than max_length '
        f"{found.limit}: {', '.join(filter(None, parts))}"
    )
    all_seen = about == f"{rows:,}"
    everything = dropped == found.rows and lines == rows and all_seen
    takes = f'"max_length": {max(row.longest for row in long)} takes'
    config = join(settings.stage.at, "config", "max_length")
    given = "max_length" in settings.stage.config
    return Diagnostic(
        "rows-cut",
        message,
        Location(shown(long[0].file), long[0].line),
        config if given else settings.stage.at,
        f"{takes} them all" if all_seen else f"{takes} these; pt plan looks at more rows",
        severity=Severity.ERROR if everything else Severity.WARNING,
    )


def _beyond(settings: EffectiveConfig, over: list[Row], about: str, context: int) -> Diagnostic:
    lines = len({(row.file, row.line) for row in over})
    longest = max(row.prompt if settings.stage.method.online else row.longest for row in over)
    online = settings.stage.method.online
    answer = settings.number("max_completion_length", 256)
    what = f"with an answer of {answer} are" if online else "are"
    message = (
        f'stage "{settings.stage.name}": {lines:,} of {about} rows {what} longer than the '
        f"{context} tokens that the model was made for (the longest has {longest})"
    )
    hint = '"max_completion_length": less' if online else f'"max_length": {context} cuts them'
    where = Location(shown(over[0].file), over[0].line)
    return Diagnostic("beyond-context", message, where, settings.stage.at, hint, severity=Severity.WARNING)
