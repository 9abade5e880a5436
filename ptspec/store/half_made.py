"""A stage under way: which stage its folder is for, how far it came, and what was set aside.

Work for other settings, half made or finished, is never deleted: it is renamed to `<stage>.set-aside-<n>`,
and taken up again when the recipe asks for that stage once more.
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
"""In a half-made stage: the fingerprint of the stage that it is for, and what that covers."""

SAVED = ".saved.json"
"""In a finished stage that was set aside: the hash of what was saved, where it is known."""

_ASIDE = re.compile(r".+\.set-aside-(\d+)")


def is_set_aside(folder: Path) -> bool:
    return _ASIDE.fullmatch(folder.name) is not None


def number_aside(folder: Path) -> int:
    """The number of a folder that was set aside, the newest one the highest; 0 where it was not."""
    found = _ASIDE.fullmatch(folder.name)
    return 0 if found is None else int(found[1])


def read_mark(folder: Path) -> Mapping[str, Any]:
    """`fingerprint` and `ingredients` of the stage that a half-made one is for; nothing where it does not
    say."""
    return read_object(folder / RECORD) or read_object(folder / MARK)


def is_made_for(folder: Path, fingerprint: str) -> bool:
    """Whether a half-made stage is the one with this fingerprint, and may be gone on with."""
    return read_mark(folder).get("fingerprint") == fingerprint


def is_trained(folder: Path, fingerprint: str) -> bool:
    """Whether that stage lacks nothing but its evaluation and its name."""
    return read_object(folder / RECORD).get("fingerprint") == fingerprint


def last_step(folder: Path) -> int | None:
    """The step of the newest checkpoint of a half-made stage; None where it has none."""
    numbers = [path.name.rpartition("-")[2] for path in (folder / CHECKPOINTS).glob("checkpoint-*")]
    return max((int(number) for number in numbers if number.isdigit()), default=None)


def saved_in_words(stage: str, step: int | None) -> str:
    """What there is of a stage that did not end, and how to go on."""
    kept = f"{stage} is saved up to step {step}" if step else f"nothing of {stage} is saved yet"
    return f"{kept}; the same command goes on from there"


def holds_work(folder: Path) -> bool:
    """Whether a half-made stage came further than its first step."""
    return last_step(folder) is not None or any((folder / name).exists() for name in (METRICS, RECORD))


def set_aside(output: Path, stage: str) -> Path | None:
    """Renames the half-made `stage`, and returns its new folder; None where no step of it was made, and what
    there is was removed."""
    partial = partial_folder(output, stage)
    if not holds_work(partial):
        shutil.rmtree(partial, ignore_errors=True)
        return None
    return move_aside(partial, output, stage)


def set_finished_aside(output: Path, stage: str, sha256: str | None) -> Path:
    """Renames the finished `stage`, whose model or adapter has the hash `sha256` (None: not known), and
    returns its new folder."""
    write_json(output / stage / SAVED, {"sha256": sha256})
    return move_aside(output / stage, output, stage)


def move_aside(folder: Path, output: Path, stage: str) -> Path:
    """Renames `folder`, which holds `stage`, to the next name of what is set aside, and returns that."""
    names = (output / f"{stage}.set-aside-{number}" for number in count(1))
    return folder.rename(next(name for name in names if not name.exists()))


def kept_aside(output: Path, stage: str, fingerprint: str) -> Path | None:
    """What was set aside of `stage` with this fingerprint, is as it was saved, and came furthest, of equal
    ones the newest; None where nothing was."""
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
    """Whether what was set aside in `folder` is as it was saved, as far as that is known."""
    saved = read_object(folder / SAVED).get("sha256")
    return saved is None or saved == hash_folder(folder)


def _aside(output: Path, stage: str) -> Iterator[Path]:
    for folder in sorted(output.glob(f"{stage}.set-aside-*")):
        if is_set_aside(folder) and folder.is_dir() and not folder.is_symlink():
            yield folder


def make_partial(output: Path, stage: str, fingerprint: str, covered: Mapping[str, Any]) -> Path:
    """The folder in which `stage` is made, marked as that of this fingerprint."""
    partial = partial_folder(output, stage)
    partial.mkdir(parents=True, exist_ok=True)
    sweep(partial)
    if not (partial / RECORD).exists():
        write_json(partial / MARK, {"fingerprint": fingerprint, "ingredients": covered})
    return partial
