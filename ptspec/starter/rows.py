"""The rows that `pt init` is given: a file or a folder, its first row, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptspec.data.readers.compression import kind_of
from ptspec.data.readers.placed import PlacedRow, Unreadable, shown, unreadable
from ptspec.data.readers.scan import READERS, count_rows, scan
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.data_files import Splits
from ptspec.recipe.paths import ROWS_STAND_IN, Places, is_folder
from ptspec.recipe.source_files import look
from ptspec.recipe.sources import Source
from ptspec.recipe.splits import TRAIN
from ptspec.starter.first_row import FirstRow

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclass(frozen=True)
class GivenRows:
    """The rows at `path`.

    `files`: those that a source reads without a "split"; `splits`: of a folder those that its names tell.
    """

    path: Path
    files: tuple[Path, ...]
    splits: Splits
    first: FirstRow

    @property
    def is_folder(self) -> bool:
        """Whether `path` is a folder."""
        return self.files != (self.path,)

    @property
    def can_be_cut(self) -> bool:
        """Whether a slice of the split "train" is a part of these rows."""
        return not self.splits or TRAIN in self.splits

    def count(self) -> int:
        """Return the number of rows."""
        return count_rows(self.files)


def look_at(path: Path, columns: Mapping[str, str] = {}) -> GivenRows:
    """The rows at `path`; `columns` are wanted names with those that the user gave for them.

    Raises `InputError` where there is no row, or no such column.
    """
    if not is_folder(path):
        return GivenRows(path, (path,), {}, first_row_of(path).with_columns(columns, path))
    found = look(str(path.absolute()), Places(Path.cwd(), Path.cwd()))
    if not found.without_split:
        hint = f"name one of its files: {', '.join(map(shown, found.files[:4]))}" if found.files else None
        told = Diagnostic("no-such-data", "no file with rows is read here", Location(shown(path)), hint=hint)
        raise InputError(told)
    row = first_row_of(found.without_split[0]).with_columns(columns, path)
    return GivenRows(path, found.without_split, found.splits, row)


def first_row_of(file: Path) -> FirstRow:
    """The first row of `file`. Raises `InputError` where it has none."""
    where = Location(shown(file))
    if not file.is_file():
        raise InputError(Diagnostic("missing-file", f"there is no file {file}", where))
    if kind_of(file) not in READERS:
        hint = f"{ROWS_STAND_IN}, optionally with .gz or .zst"
        if file.suffix.lower() in _SPREADSHEETS:
            hint = "a spreadsheet: save it as CSV"
        raise InputError(Diagnostic("unsupported-format", "is in no format known here", where, hint=hint))
    first = next(scan(Source("data", (file.absolute(),))), None)
    if isinstance(first, Unreadable):
        raise InputError(unreadable(first))
    if not isinstance(first, PlacedRow):
        raise InputError(Diagnostic("no-rows", "has no rows", where))
    return FirstRow(first.values)
