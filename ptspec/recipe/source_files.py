"""The files of a source: those of its path in the requested splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ptspec.recipe.data_files import Splits, files_below, folder_splits, named_splits
from ptspec.recipe.paths import Expanded, Kind, Places
from ptspec.recipe.splits import ALL, TRAIN, parse

Paths = tuple[Path, ...]


@dataclass(frozen=True)
class Found:
    """What one path of a source names.

    Of a folder: `below` are its files and those of its sub-folders, `splits` those of each split.
    """

    text: str
    expanded: Expanded
    below: Paths = ()
    splits: Splits = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether the path is a folder."""
        return self.expanded.kind is Kind.FOLDER

    @property
    def files(self) -> Paths:
        """Every file that may be read: of sub-folders only if names tell splits."""
        return self.below if self.splits else self.expanded.files

    @property
    def without_split(self) -> Paths:
        """The files read by default; () if that is ambiguous."""
        if not self.splits:
            return self.expanded.files
        if len(self.splits) == 1 and not self.unnamed:
            return next(iter(self.splits.values()))
        return self.splits.get(TRAIN, ())

    @property
    def unnamed(self) -> Paths:
        """Files below a folder that belong to no split, while others do."""
        return without(self.below, self.splits.values()) if self.splits else ()


def look(text: str, places: Places) -> Found:
    """Return what `text` names, its files sorted into splits."""
    expanded = places.expanded(text)
    if expanded.kind is not Kind.FOLDER:
        return Found(text, expanded)
    below = tuple(files_below(expanded.root))
    return Found(text, expanded, below, folder_splits(expanded.root, below))


def splits_of(found: Sequence[Found]) -> Splits:
    """Return the splits that the names of all these files tell, else all as "train".

    A single file is "train", and what its name tells.
    """
    if len(found) == 1 and found[0].is_folder:
        return found[0].splits or {TRAIN: found[0].files}
    names = [(file.relative_to(one.expanded.root).as_posix(), file) for one in found for file in one.files]
    told = named_splits(names)
    files = tuple(dict.fromkeys(file for _, file in names))
    is_single = len(found) == 1 and found[0].expanded.kind is Kind.FILE
    return {TRAIN: files} | told if is_single or not told else told


def chosen(found: Sequence[Found], split: str | None) -> tuple[Paths, Splits]:
    """Return the files to read, and those of each requested split; ((), {}) if a split is missing."""
    if split is None:
        return tuple(dict.fromkeys(file for one in found for file in one.without_split)), {}
    splits = splits_of(found)
    wanted = names_in(split, splits)
    if any(name not in splits for name in wanted):
        return (), {}
    taken = {name: splits[name] for name in wanted}
    return tuple(dict.fromkeys(file for files in taken.values() for file in files)), taken


def names_in(split: str, splits: Mapping[str, Paths]) -> tuple[str, ...]:
    """Return the splits in the text of "split", each once. Raises `ValueError` for invalid text."""
    if split == ALL:
        return tuple(splits)
    return tuple(dict.fromkeys(one.split for one in parse(split)))


def without(files: Paths, others: Iterable[Paths]) -> Paths:
    """Return those of `files` that are in none of `others`."""
    named = {file for one in others for file in one}
    return tuple(file for file in files if file not in named)
