"""Rows that are too long for a stage, told before it starts: cut, dropped, or beyond the model's context.

Only the first rows of a source are looked at, so that checking stays quick: `pt plan` looks at 5,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ptspec.data.checks.source_pass import Items, Seen, bytes_of
from ptspec.data.readers.placed import PlacedRow, shown
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.cuts import Cuts, cuts
from ptspec.data.tokens.lengths import Row, lengths_of
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.data.tokens.truncation import Truncation, limit
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.json_pointer import join
from ptspec.recipe.plan import Plan, Source, Stage, parts_of

ENOUGH = 400_000
"""Bytes of text of a source that are tokenised, so that checking stays quick."""
SHORTEST = ({"role": "user", "content": "."}, {"role": "assistant", "content": "."})
TOOL = {"type": "function", "function": {"name": "f", "description": ".", "parameters": {}}}
"""The shortest chat and tool: what is rendered of them is the chat template's own."""


def local_sources(plan: Plan, stage: Stage) -> list[Source]:
    """The files that the rows of `stage` come from."""
    if stage.data not in plan.data:
        return []
    found = [plan.data.get(name) for name in parts_of(plan.data, stage.data)]
    return [one for one in found if isinstance(one, Source) and one.hub is None]


def first_rows(seen: Mapping[str, Seen], source: Source) -> Items:
    """The first rows of `source`; none where it could not be read."""
    return seen[source.name].first if source.name in seen else []


def check_lengths(
    plan: Plan,
    settings: EffectiveConfig,
    tokenizer: TokenizerFiles,
    context: int | None,
    seen: Mapping[str, Seen],
) -> Iterator[Diagnostic]:
    """Rows of the stage that are longer than `max_length`, or than the model's `context`, in tokens."""
    if not tokenizer.can_count:
        return
    most = limit(settings)
    answer = settings.number("max_completion_length", 256) if settings.stage.method.online else 0
    room = context - answer if context and context > answer else None
    lengths = [length for length in (most, room) if length]
    if not lengths:
        return
    own = _own_texts(tokenizer)
    room_in_bytes = min(lengths) - max(len(text.encode()) for text in own)
    sources = [s for s in local_sources(plan, settings.stage) if s.name in seen]
    sources = [source for source in sources if seen[source.name].widest >= room_in_bytes]
    if not sources:
        return
    floor = max(1, min(lengths) - max(map(len, tokenizer.ids(own, special=True))))
    for source in sources:
        if seen[source.name].widest < floor:
            continue
        items = _enough(first_rows(seen, source))
        rows = seen[source.name].rows
        is_all = len(items) == rows and seen[source.name].is_whole
        about = f"{len(items):,}" if is_all else f"the first {len(items):,}"
        found = list(lengths_of(items, source, settings, tokenizer, at_least=floor))
        if most is not None and (long := [row for row in found if row.longest > most]):
            yield _cut(settings, cuts(long, settings), long, rows, about)
        over = [row for row in found if room and _length(row, settings, most) > room]
        if over:
            yield _beyond(settings, over, about, context or 0)


def _own_texts(tokenizer: TokenizerFiles) -> list[str]:
    """What is added to a row: by the chat template with and without tools, by the tokenizer to plain text.

    A row whose bytes leave room for it is not tokenised: a text has no more tokens than bytes.
    """
    found = [tokenizer.special.get("bos_token", "") + tokenizer.special.get("eos_token", "")]
    for tools in (None, [TOOL]) if tokenizer.is_template else ():
        try:
            found.append(tokenizer.render(SHORTEST, tools=tools))
        except CannotRender:
            continue
    return found


def _enough(items: Items) -> Items:
    """The first of `items`, so many as hold `ENOUGH` bytes, and twenty at least."""
    found: Items = []
    size = 0
    for item in items:
        if size > ENOUGH and len(found) >= 20:
            break
        found.append(item)
        size += bytes_of(item.values) if isinstance(item, PlacedRow) else 0
    return found


def _length(row: Row, settings: EffectiveConfig, most: int | None) -> int:
    """Tokens of the row that reach the model, without what it samples."""
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
