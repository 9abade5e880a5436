"""A stage's rows as tokens: held, learned, and passed to rewards, for `pt rows`.

With tokenizer files no heavy library is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.data.checks.row_checks import Use, row_checker
from ptspec.data.chosen_rows import items_of
from ptspec.data.dataset import other_columns
from ptspec.data.layouts.convert import reading_of, to_trl
from ptspec.data.layouts.table import layout_for
from ptspec.data.readers.placed import Item, PlacedRow, Unreadable, first_row, shown, unreadable
from ptspec.data.tokens.chat_tokenizer import CannotRender, ChatTokenizer, TrainerRefuses
from ptspec.data.tokens.encode import FAULTS, EncodedRow, TrlRow, encode
from ptspec.data.tokens.encoded import Encoded
from ptspec.data.tokens.pieces import Piece, pieces
from ptspec.data.tokens.training_template import marks_answers
from ptspec.data.tokens.truncation import Truncation, limit
from ptspec.diagnostics import Diagnostic, Location, Severity
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import ModelSpec, Plan, Stage
from ptspec.recipe.sources import Source

SIDES = ("chosen", "rejected")
TEXTS = ("messages", "prompt", "completion", *SIDES)


@dataclass(frozen=True)
class EncodedSequence:
    """A sequence as the trainer holds it; of a dropped row as it was.

    `side`: chosen or rejected, of a pair; `whole`: its tokens before truncation.
    """

    side: str | None
    encoded: Encoded
    pieces: tuple[Piece, ...]
    whole: int


@dataclass(frozen=True)
class StageRow:
    """A row of `stage`'s data in tokens.

    `template`: the one that renders it, None for plain text; `limit`: the trainer's maximum length; `label`:
    KTO's; `columns`: what an online method's rewards receive besides the texts, None for others;
    `are_strings`: whether the texts are strings in the file.
    """

    stage: Stage
    source: Source
    file: str
    line: int
    template: str | None
    sequences: tuple[EncodedSequence, ...]
    truncation: Truncation
    limit: int | None
    label: bool | None
    columns: Mapping[str, Any] | None
    are_strings: bool


@dataclass(frozen=True)
class RowEncoder:
    """Encodes the rows of one stage of `plan`."""

    plan: Plan
    settings: EffectiveConfig
    tokenizer: ChatTokenizer

    @property
    def stage(self) -> Stage:
        """The stage whose rows are encoded."""
        return self.settings.stage

    def rows(self, items: Iterator[tuple[Source, Item]]) -> Iterator[StageRow | Diagnostic]:
        """Yield each of `items` as the trainer gets it (a pair is two rows for KTO), or its error."""
        columns: dict[str, frozenset[str]] = {}
        for source, item in items:
            if isinstance(item, Unreadable):
                yield unreadable(item, source.at)
                continue
            if source.name not in columns:
                columns[source.name] = _columns_of(source)
            told = list(self._checked(item, source, columns[source.name]))
            yield from told
            if not any(one.severity is Severity.ERROR for one in told):
                yield from self._made(item, source, columns[source.name])

    def _checked(self, item: PlacedRow, source: Source, columns: frozenset[str]) -> Iterator[Diagnostic]:
        """Return the errors that `pt validate` reports for the row."""
        use = Use(f'stage "{self.stage.name}"', self.stage.method.rows)
        for fault in row_checker(use, columns, reading_of(source))(item.values):
            yield Diagnostic(
                fault.code, fault.message, _location(item), source.at, fault.hint, severity=fault.severity
            )

    def _made(
        self, item: PlacedRow, source: Source, columns: frozenset[str]
    ) -> Iterator[StageRow | Diagnostic]:
        wanted = self.stage.method.rows
        layout = layout_for(wanted, columns)
        if layout is None:
            return
        try:
            for row in to_trl(item.values, wanted, layout, reading_of(source)):
                yield self._row(row, item, source)
        except FAULTS as error:
            yield self._unusable(item, source, str(error))

    def _row(self, row: TrlRow, item: PlacedRow, source: Source) -> StageRow | Diagnostic:
        try:
            found = encode(row, self.settings, self.tokenizer)
        except CannotRender as error:
            who = "the trainer" if isinstance(error, TrainerRefuses) else "the chat template"
            message = f'stage "{self.stage.name}": {who} refuses this row: {error}'
            return Diagnostic("cannot-render", message, _location(item), source.at)
        except FAULTS as error:
            return self._unusable(item, source, str(error))
        return StageRow(
            self.stage,
            source,
            shown(item.file),
            item.line,
            self._template(row),
            self._sequences(row, found),
            found.truncation,
            limit(self.settings),
            row.get("label"),
            other_columns(item.values) if self.stage.method.online else None,
            not any(isinstance(item.values.get(name), list) for name in (*TEXTS, "conversations")),
        )

    def _sequences(self, row: TrlRow, found: EncodedRow) -> tuple[EncodedSequence, ...]:
        sides = SIDES if "chosen" in row else (None,)
        held = found.held or [_unlearned(one) for one in found.whole]
        return tuple(
            EncodedSequence(side, one, pieces(one, self.tokenizer), len(whole.ids))
            for side, one, whole in zip(sides, held, found.whole, strict=True)
        )

    def _template(self, row: TrlRow) -> str | None:
        if not any(isinstance(row.get(name), list) for name in TEXTS):
            return None
        own = template_in_words(self.plan.model)
        masks = self.settings.value("assistant_only_loss") and not marks_answers(
            self.tokenizer.template or ""
        )
        return f"TRL's training template for the {own}" if masks else own

    def _unusable(self, item: PlacedRow, source: Source, reason: str) -> Diagnostic:
        message = f'stage "{self.stage.name}": this row cannot be tokenised: {reason}'
        return Diagnostic("wrong-type", message, _location(item), source.at)


def stage_notes(settings: EffectiveConfig) -> Iterator[str]:
    """Yield remarks that hold for every row of a stage and are not visible in one."""
    method = settings.stage.method
    if settings.value("packing"):
        length = settings.value("max_length")
        yield f"packing joins rows to sequences of {length} tokens; they are shown one by one, uncut"
    if method.tokens.note is not None:
        yield method.tokens.note
    if method.online:
        most = settings.value("max_completion_length")
        yield f"what is learned is sampled behind the prompt: up to {most} tokens"


def template_in_words(spec: ModelSpec) -> str:
    """Return "template of data/base_model"."""
    if spec.template_file is not None:
        return f"template {shown(spec.template_file)}"
    return f"template of {'the recipe' if spec.chat_template is not None else shown(Path(spec.path))}"


def _columns_of(source: Source) -> frozenset[str]:
    """Return the columns of the first row, which are the source's."""
    first = first_row(items_of(source))
    return frozenset(first.values if first is not None else ())


def _unlearned(encoded: Encoded) -> Encoded:
    return Encoded(encoded.ids, (False,) * len(encoded.ids), encoded.prompt)


def _location(item: PlacedRow) -> Location:
    return Location(shown(item.file), item.line)
