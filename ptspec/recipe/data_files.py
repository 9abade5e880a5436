"""Assign files to splits by file and folder names, as `datasets` does.

tests/contract/test_splits.py compares this with the library. Reads no rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ptspec.recipe.json_object import read_object
from ptspec.recipe.paths import is_data_file
from ptspec.recipe.splits import TRAIN

Splits = dict[str, tuple[Path, ...]]
Found = tuple[str, list[Path]]
Named = Sequence[tuple[str, Path]]
"""Files with names relative to the folder in the recipe, with forward slashes."""

_KEYWORDS: Mapping[str, tuple[str, ...]] = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SEP = "[-._ 0-9]"
_SHARD = re.compile(r"data/(?P<split>[^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*", re.ASCII)
_SPLIT = re.compile(r"\w+(\.\w+)*")
_CHECKPOINT = re.compile(r"checkpoints?(-\d+)?")
_OF_A_MODEL = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("tokenizer_config.json", "adapter_config.json"),
)
_SAVED_SPLITS = "dataset_dict.json"


def files_below(folder: Path) -> list[Path]:
    """Return the data files in `folder` and its sub-folders, sorted.

    Without those in hidden folders, folders that begin with two underscores, checkpoints and models.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not _is_skipped(here / name)]
        found += [here / name for name in names]
    return sorted(filter(is_data_file, found), key=Path.as_posix)


def _is_skipped(folder: Path) -> bool:
    name = folder.name
    if name.startswith((".", "__")) or _CHECKPOINT.fullmatch(name):
        return True
    return any((folder / file).is_file() for file in _OF_A_MODEL)


def folder_splits(folder: Path, files: Sequence[Path]) -> Splits:
    """Return the files of each split in `folder`; {} if no name tells one."""
    names = [(file.relative_to(folder).as_posix(), file) for file in files]
    return _saved(folder, names) or named_splits(names)


def _saved(folder: Path, files: Named) -> Splits:
    """Return the splits of a folder written by `DatasetDict.save_to_disk`: one per sub-folder."""
    splits = read_object(folder / _SAVED_SPLITS).get("splits")
    return _filled(
        (split, [file for name, file in files if name.startswith(f"{split}/")])
        for split in (splits if isinstance(splits, list | dict) else ())
        if isinstance(split, str)
    )


def named_splits(files: Named) -> Splits:
    """Return the files of each split; {} if no name tells one.

    By the form data/SPLIT-00000-of-00001.EXT, then folder names, then file names. A file whose name tells two
    is in both.
    """
    return _sharded(files) or _filled(_by_pattern(files, _in_folder)) or _filled(_by_pattern(files, _in_file))


def _sharded(files: Named) -> Splits:
    found: dict[str, list[Path]] = {}
    for name, file in files:
        match = _SHARD.fullmatch(name)
        if match and _SPLIT.fullmatch(match["split"]):
            found.setdefault(match["split"], []).append(file)
    ordered = [name for name in _KEYWORDS if name in found] + sorted(found.keys() - _KEYWORDS.keys())
    return {name: tuple(found[name]) for name in ordered}


def _by_pattern(files: Named, patterns: Mapping[str, Sequence[re.Pattern[str]]]) -> Iterator[Found]:
    for split, expressions in patterns.items():
        yield split, [file for one in expressions for name, file in files if one.fullmatch(name)]


def _filled(found: Iterable[Found]) -> Splits:
    return {split: tuple(dict.fromkeys(files)) for split, files in found if files}


def _compiled(*templates: str) -> dict[str, list[re.Pattern[str]]]:
    return {
        split: [re.compile(one.format(word=word, sep=_SEP)) for word in words for one in templates]
        for split, words in _KEYWORDS.items()
    }


_in_folder = _compiled(
    "(?:.*/)?{word}/.*",
    "(?:.*/)?{word}{sep}[^/]*/.*",
    "(?:.*/)?[^/]*{sep}{word}/.*",
    "(?:.*/)?[^/]*{sep}{word}{sep}[^/]*/.*",
)
_in_file = _compiled("(?:.*/)?{word}{sep}[^/]*", "(?:.*/)?[^/]*{sep}{word}{sep}[^/]*")
