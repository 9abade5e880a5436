"""The first rows of a plan's local sources, tokenised as its stages tokenise them.

Rows that several stages tokenise alike are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any, TypeVar

from ptspec.data.checks.source_pass import Items, Seen, bytes_of
from ptspec.data.readers.placed import PlacedRow
from ptspec.data.tokens.chat_tokenizer import CannotRender
from ptspec.data.tokens.lengths import Row, lengths_of, tokenised_by
from ptspec.data.tokens.template import TokenizerFiles
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import Plan, Stage
from ptspec.recipe.sources import Source, parts_of

ENOUGH = 400_000
"""Bytes of text tokenised per source, to keep checking fast."""
SHORTEST = ({"role": "user", "content": "."}, {"role": "assistant", "content": "."})
TOOL = {"type": "function", "function": {"name": "f", "description": ".", "parameters": {}}}
"""The shortest chat and tool: rendering them gives the template's own overhead."""

T = TypeVar("T")


def local_sources(plan: Plan, stage: Stage) -> list[Source]:
    """Return the files of a stage's rows."""
    if stage.data not in plan.data:
        return []
    found = [plan.data.get(name) for name in parts_of(plan.data, stage.data)]
    return [one for one in found if isinstance(one, Source) and one.hub is None]


def first_rows(seen: Mapping[str, Seen], source: Source) -> Items:
    """Return the first rows of `source`; empty if it could not be read."""
    return seen[source.name].first if source.name in seen else []


class StageRows:
    """The `seen` rows of `plan`, tokenised by `tokenizer` for one stage after another."""

    def __init__(self, plan: Plan, tokenizer: TokenizerFiles, seen: Mapping[str, Seen]) -> None:
        self.plan, self.tokenizer, self.seen = plan, tokenizer, seen
        self._known: dict[Hashable, Any] = {}

    def once(self, what: str, source: Source, settings: EffectiveConfig, read: Callable[[], T]) -> T:
        """Return `read()`, cached for stages that tokenise `source` alike."""
        return self._once((what, tokenised_by(source.name, settings)), read)

    def sources(self, stage: Stage) -> list[Source]:
        """Return the files of `stage` whose rows were read."""
        return [source for source in local_sources(self.plan, stage) if source.name in self.seen]

    def first(self, source: Source) -> Items:
        """Return the first rows of `source`: as many as hold `ENOUGH` bytes, but at least twenty."""
        items = first_rows(self.seen, source)
        if len(items) * self.seen[source.name].widest <= ENOUGH:
            return items
        return self._once(("first", source.name), lambda: _enough(items))

    def lengths(self, source: Source, settings: EffectiveConfig, at_least: int) -> list[Row]:
        """Return the `first` rows in tokens, without those surely shorter than `at_least` tokens."""

        def read() -> list[Row]:
            items = self.first(source)
            return list(lengths_of(items, source, settings, self.tokenizer, at_least=at_least))

        return self.once(f"lengths from {at_least}", source, settings, read)

    @cached_property
    def added(self) -> tuple[str, ...]:
        """Text added to a row: by the chat template with and without tools, and by the tokenizer.

        Rows whose bytes leave room for it are not tokenised: a text has at most one token per byte.
        """
        special = self.tokenizer.special
        found = [special.get("bos_token", "") + special.get("eos_token", "")]
        for tools in (None, [TOOL]) if self.tokenizer.is_template else ():
            try:
                found.append(self.tokenizer.render(SHORTEST, tools=tools))
            except CannotRender:
                continue
        return tuple(found)

    @cached_property
    def added_bytes(self) -> int:
        """UTF-8 bytes of the longest added text."""
        return max(len(text.encode()) for text in self.added)

    @cached_property
    def added_tokens(self) -> int:
        """Tokens of the longest added text."""
        return max(map(len, self.tokenizer.ids(self.added, special=True)))

    def _once(self, key: Hashable, read: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = read()
        found: T = self._known[key]
        return found


def _enough(items: Items) -> Items:
    found: Items = []
    size = 0
    for item in items:
        if size > ENOUGH and len(found) >= 20:
            break
        found.append(item)
        size += bytes_of(item.values) if isinstance(item, PlacedRow) else 0
    return found
