"""The first rows of a plan's local sources as its stages tokenise them.

What several stages read in the same way is read once: a recipe of a hundred stages has few sources."""

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
"""Bytes of text of a source that are tokenised, so that checking stays quick."""
SHORTEST = ({"role": "user", "content": "."}, {"role": "assistant", "content": "."})
TOOL = {"type": "function", "function": {"name": "f", "description": ".", "parameters": {}}}
"""The shortest chat and tool: what is rendered of them is the chat template's own."""

T = TypeVar("T")


def local_sources(plan: Plan, stage: Stage) -> list[Source]:
    """The files that the rows of `stage` come from."""
    if stage.data not in plan.data:
        return []
    found = [plan.data.get(name) for name in parts_of(plan.data, stage.data)]
    return [one for one in found if isinstance(one, Source) and one.hub is None]


def first_rows(seen: Mapping[str, Seen], source: Source) -> Items:
    """The first rows of `source`; none where it could not be read."""
    return seen[source.name].first if source.name in seen else []


class StageRows:
    """The rows of `plan` that were `seen`, read by `tokenizer` for one stage after the other."""

    def __init__(self, plan: Plan, tokenizer: TokenizerFiles, seen: Mapping[str, Seen]) -> None:
        self.plan, self.tokenizer, self.seen = plan, tokenizer, seen
        self._known: dict[Hashable, Any] = {}

    def once(self, what: str, source: Source, settings: EffectiveConfig, read: Callable[[], T]) -> T:
        """`read()`, or what it gave for another stage that tokenises `source` as this one does."""
        return self._once((what, tokenised_by(source.name, settings)), read)

    def sources(self, stage: Stage) -> list[Source]:
        """The files of `stage` whose rows were seen."""
        return [source for source in local_sources(self.plan, stage) if source.name in self.seen]

    def first(self, source: Source) -> Items:
        """The first rows of `source`, so many as hold `ENOUGH` bytes, and twenty at least."""
        items = first_rows(self.seen, source)
        if len(items) * self.seen[source.name].widest <= ENOUGH:
            return items
        return self._once(("first", source.name), lambda: _enough(items))

    def lengths(self, source: Source, settings: EffectiveConfig, at_least: int) -> list[Row]:
        """The `first` rows in tokens but those that are surely shorter than `at_least` tokens."""

        def read() -> list[Row]:
            items = self.first(source)
            return list(lengths_of(items, source, settings, self.tokenizer, at_least=at_least))

        return self.once(f"lengths from {at_least}", source, settings, read)

    @cached_property
    def added(self) -> tuple[str, ...]:
        """What is added to a row: by the chat template with and without tools, by the tokenizer to texts.

        A row whose bytes leave room for it is not tokenised: a text has no more tokens than bytes.
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
        return max(len(text.encode()) for text in self.added)

    @cached_property
    def added_tokens(self) -> int:
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
