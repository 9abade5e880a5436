"""Unfinished stages: which stage a folder is for, how far it came, and what was set aside.

Work for other settings is never deleted, finished or not: it is renamed to `<stage>.set-aside-<n>`, and taken
up again when the recipe asks for that stage once more.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ptspec.recipe.json_object import read_object
from ptspec.store.content_hashes import hash_folder
from ptspec.store.files import sweep, write_json
from ptspec.store.stage_folder import CHECKPOINTS, METRICS, RECORD, partial_folder

MARK = ".fingerprint.json"
"""File in an unfinished stage: its fingerprint, and what that covers."""

SAVED = ".saved.json"
"""File in a finished stage that was set aside: the hash of what was saved, if known."""

_ASIDE = re.compile(r".+\.set-aside-(\d+)")


def is_set_aside(folder: Path) -> bool:
    """Return whether a folder has the name of a stage that was set aside."""
    return _ASIDE.fullmatch(folder.name) is not None


def number_aside(folder: Path) -> int:
    """Return the number of a folder set aside, highest for the newest; 0 for another folder."""
    found = _ASIDE.fullmatch(folder.name)
    return 0 if found is None else int(found[1])


def read_mark(folder: Path) -> Mapping[str, Any]:
    """Return `fingerprint` and `ingredients` of an unfinished stage; {} if it has no mark."""
    return read_object(folder / RECORD) or read_object(folder / MARK)


def is_made_for(folder: Path, fingerprint: str) -> bool:
    """Return whether an unfinished stage has this fingerprint, so that it may be resumed."""
    return read_mark(folder).get("fingerprint") == fingerprint


def is_trained(folder: Path, fingerprint: str) -> bool:
    """Return whether the stage is trained and lacks only its evaluation and its final name."""
    return read_object(folder / RECORD).get("fingerprint") == fingerprint


def last_step(folder: Path) -> int | None:
    """Return the step of an unfinished stage's newest checkpoint; None if it has none."""
    numbers = [path.name.rpartition("-")[2] for path in (folder / CHECKPOINTS).glob("checkpoint-*")]
    return max((int(number) for number in numbers if number.isdigit()), default=None)


def saved_in_words(stage: str, step: int | None) -> str:
    """Return how far an unfinished stage came, and how to resume it."""
    kept = f"{stage} is saved up to step {step}" if step else f"nothing of {stage} is saved yet"
    return f"{kept}; the same command resumes from there"


def holds_work(folder: Path) -> bool:
    """Return whether an unfinished stage has made a step that was saved."""
    return last_step(folder) is not None or any((folder / name).exists() for name in (METRICS, RECORD))


def set_aside(output: Path, stage: str) -> Path | None:
    """Rename the unfinished `stage` and return its new folder.

    A stage without a saved step is removed; returns None.
    """
    partial = partial_folder(output, stage)
    if not holds_work(partial):
        shutil.rmtree(partial, ignore_errors=True)
        return None
    return move_aside(partial, output, stage)


def set_finished_aside(output: Path, stage: str, sha256: str | None) -> Path:
    """Rename the finished `stage` and return its new folder; `sha256` is its hash, None if unknown."""
    write_json(output / stage / SAVED, {"sha256": sha256})
    return move_aside(output / stage, output, stage)


def move_aside(folder: Path, output: Path, stage: str) -> Path:
    """Rename `folder`, which holds `stage`, to the next free set-aside name, and return it."""
    names = (output / f"{stage}.set-aside-{number}" for number in count(1))
    return folder.rename(next(name for name in names if not name.exists()))


def kept_aside(output: Path, stage: str, fingerprint: str) -> Path | None:
    """Return the intact set-aside folder of `stage` with this fingerprint that came furthest.

    The newest of equal ones; None if there is none.
    """
    kept = [
        folder
        for folder in _aside(output, stage)
        if is_made_for(folder, fingerprint) and is_as_saved_aside(folder)
    ]
    return max(
        kept,
        key=lambda folder: (is_trained(folder, fingerprint), last_step(folder) or 0, number_aside(folder)),
        default=None,
    )


def is_as_saved_aside(folder: Path) -> bool:
    """Return whether a set-aside folder is unchanged since it was saved, as far as known."""
    saved = read_object(folder / SAVED).get("sha256")
    return saved is None or saved == hash_folder(folder)


def _aside(output: Path, stage: str) -> Iterator[Path]:
    for folder in sorted(output.glob(f"{stage}.set-aside-*")):
        if is_set_aside(folder) and folder.is_dir() and not folder.is_symlink():
            yield folder


def make_partial(output: Path, stage: str, fingerprint: str, covered: Mapping[str, Any]) -> Path:
    """Create the folder in which `stage` is made, marked with its fingerprint."""
    partial = partial_folder(output, stage)
    partial.mkdir(parents=True, exist_ok=True)
    sweep(partial)
    if not (partial / RECORD).exists():
        write_json(partial / MARK, {"fingerprint": fingerprint, "ingredients": covered})
    return partial
