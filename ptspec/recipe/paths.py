"""Resolve paths of a recipe: from the working directory, else from the recipe's folder. Reads no contents."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import NamedTuple

DATA_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
DATA_COMPRESSIONS = (".gz", ".zst")
ROWS_STAND_IN = "rows stand in .jsonl, .json, .csv, .tsv, .parquet or .arrow files"

_NOT_ROWS = frozenset({"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
"""JSON files that `datasets` never reads as rows unless they are named."""
_SAVED = ("state.json", "dataset_info.json")
"""Files that `Dataset.save_to_disk` writes beside its .arrow files."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.ASCII)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
GLOB = re.compile(r"[*?\[]")
_NEAR, _MISSPELT = 0.6, 0.8
"""Similarity of names, from 0 to 1, to suggest one, or to treat it as the intended one."""


class Kind(Enum):
    """What a path of the recipe refers to."""

    FILE = "file"
    FOLDER = "folder"
    GLOB = "glob"
    NOTHING = "nothing"


class Expanded(NamedTuple):
    """`files` of a path; `root` is the folder that their names are relative to."""

    kind: Kind
    root: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Places:
    """The two folders that a relative path of the recipe may refer to, both absolute."""

    working: Path
    recipe: Path

    def candidates(self, text: str) -> tuple[Path, ...]:
        """Return the possible absolute paths of `text`; the first existing one counts."""
        path = from_home(text)
        if path.is_absolute():
            return (path,)
        return tuple(dict.fromkeys((self.working / path, self.recipe / path)))

    def find(self, text: str) -> Path | None:
        """Return the absolute path of the file or folder `text`, or None."""
        return next((path for path in self.candidates(text) if exists(path)), None)

    def is_there(self, text: str) -> bool:
        """Return whether `text` names a file, a folder or a matching glob."""
        return self.expanded(text).kind is not Kind.NOTHING

    def expanded(self, text: str) -> Expanded:
        """Return the files that `text` names, sorted, of a folder those with rows; and its kind."""
        for path in self.candidates(text):
            if exists(path) and path.is_dir():
                return Expanded(Kind.FOLDER, path, tuple(sorted(filter(is_data_file, path.iterdir()))))
            if exists(path):
                return Expanded(Kind.FILE, path.parent, (path,))
        for path in self.candidates(text) if GLOB.search(text) else ():
            if found := tuple(sorted(match for match in _glob(path) if _is_listed(match))):
                return Expanded(Kind.GLOB, _fixed(path), found)
        return Expanded(Kind.NOTHING, self.working, ())

    def hub_id(self, text: str) -> bool:
        """Return whether `text` is a hub id rather than a missing path.

        A single word similar to an existing name counts as a misspelt path.
        """
        if not _HUB_ID.fullmatch(text) or text.lower().endswith((*DATA_FORMATS, *DATA_COMPRESSIONS)):
            return False
        first, slash, _ = text.partition("/")
        if slash:
            return not any(is_folder(path) for path in self.candidates(first))
        return not any(_close(path, _MISSPELT) for path in self.candidates(text))

    def looked(self, text: str) -> tuple[str, ...]:
        """Return where a missing path was searched, in words."""
        return tuple(f"looked for {shown(path, self.working)}" for path in self.candidates(text))

    def nearest(self, text: str) -> str | None:
        """Return 'did you mean x?' for the name closest to `text` in its folder, or None."""
        for path in self.candidates(text):
            if close := _close(path, _NEAR):
                return f'did you mean "{(Path(text).parent / close).as_posix()}"?'
        return None


def is_address(text: str) -> bool:
    """Return whether `text` is an fsspec address: "s3://bucket/rows.jsonl"."""
    return _ADDRESS.match(text) is not None


def from_home(text: str) -> Path:
    """Return `text` as a path with "~" expanded; "~name" unchanged if there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def cache_home() -> Path:
    """Return the cache folder of ptspec: $XDG_CACHE_HOME/ptspec.

    Not absolute if there is no home folder.
    """
    return from_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ptspec"


def shown(path: Path, working: Path) -> str:
    """Return `path` for display, relative to `working` if below it."""
    return str(path.relative_to(working)) if path.is_relative_to(working) else str(path)


def holds_rows(path: Path) -> bool:
    """Return whether `path` has the name of a data file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in DATA_COMPRESSIONS:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in DATA_FORMATS and path.is_file()


def is_data_file(path: Path) -> bool:
    """Return whether a folder includes this file: one with rows, not hidden, not metadata."""
    if path.name.startswith(".") or not _is_listed(path):
        return False
    return holds_rows(path)


def _is_listed(path: Path) -> bool:
    """Return whether a folder or glob includes this file: metadata files must be named."""
    if path.name in _NOT_ROWS or (path.name == _SAVED[0] and path.with_name(_SAVED[1]).is_file()):
        return False
    return path.is_file()


def _close(path: Path, cutoff: float) -> str | None:
    """Return the name closest to that of `path` in its folder."""
    return next(
        iter(get_close_matches(path.name, [found.name for found in _siblings(path)], 1, cutoff)), None
    )


def is_hub_id(name: str) -> bool:
    """Return whether `name` has the form of a repository: "owner/name"."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder; False for an invalid name."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; False for an invalid name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Return whether `path` exists; False for an invalid name."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _siblings(path: Path) -> Iterator[Path]:
    try:
        yield from path.parent.iterdir()
    except (OSError, ValueError):
        return


def _glob(path: Path) -> Iterator[Path]:
    """Yield matches of the glob `path`; hidden ones only if it names them."""
    root = _fixed(path)
    pattern = path.parts[len(root.parts) :]
    try:
        for match in root.glob("/".join(pattern)):
            if _hidden(match.relative_to(root).parts) <= _hidden(pattern):
                yield match
    except (OSError, ValueError, NotImplementedError):
        return


def _hidden(parts: Sequence[str]) -> int:
    return sum(part.startswith(".") and part != ".." for part in parts)


def _fixed(path: Path) -> Path:
    """Return the part of a path before the first wildcard."""
    parts = path.parts
    return Path(*parts[: next((i for i, part in enumerate(parts) if GLOB.search(part)), len(parts))])
