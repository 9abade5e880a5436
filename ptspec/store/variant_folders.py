"""Find the variants of a matrix by fingerprint, whatever their numbers.

A value added to an axis renumbers the variants after it; the fingerprint does not contain the number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.store.files import read_json, write_json
from ptspec.store.half_made import (
    SAVED,
    is_as_saved_aside,
    is_set_aside,
    is_trained,
    last_step,
    move_aside,
    number_aside,
    read_mark,
    set_finished_aside,
)
from ptspec.store.output_hashes import OutputHashes
from ptspec.store.stage_folder import PICKED, RECORD, finished_record, partial_folder


@dataclass(frozen=True)
class Found:
    """A variant in `folder`, finished or not; `step` is the last step of an unfinished one."""

    folder: Path
    is_finished: bool
    is_picked: bool = False
    step: int = 0


def find_variant(output: Path, matrix: str, fingerprint: str, saved: OutputHashes) -> Found | None:
    """Return the best folder with this fingerprint; None if none is as it was saved.

    Finished before unfinished, then one that a stage took over, then set-aside ones, the newest first; of
    unfinished ones the furthest.
    """
    found = [one for one in _folders(output, matrix, saved) if _fingerprint(one) == fingerprint]
    return max(
        found, key=lambda one: (one.is_finished, not one.is_picked, one.step, *_newest(one)), default=None
    )


def _newest(found: Found) -> tuple[bool, int]:
    return not is_set_aside(found.folder), number_aside(found.folder)


def in_place(found: Found, output: Path, name: str) -> bool:
    """Return whether it has the name of the variant `name`."""
    return found.folder in (output / name, partial_folder(output, name))


def renumber(output: Path, matrix: str, wanted: Mapping[str, str], saved: OutputHashes) -> list[str]:
    """Rename the existing variants to the numbers of `wanted` (name -> fingerprint).

    A different variant with such a name is set aside first. Returns what was done, in words. After a crash
    the next call finds the folders set aside.
    """
    moved: dict[str, tuple[Found, str]] = {}
    for name, fingerprint in wanted.items():
        found = find_variant(output, matrix, fingerprint, saved)
        if found is not None and not in_place(found, output, name):
            moved[name] = found, found.folder.name
    aside = {
        name: (_aside(found, output, saved), found.is_finished, before)
        for name, (found, before) in moved.items()
    }
    told = []
    for name, (folder, is_finished, before) in aside.items():
        _put(folder, output, name, is_finished=is_finished, saved=saved)
        told.append(f"what lay in {before} is {name} now")
    return told


def _folders(output: Path, matrix: str, saved: OutputHashes) -> Iterator[Found]:
    """Return the unchanged folders in `output` of the stage `matrix` and its variants."""
    finished = re.compile(rf"{re.escape(matrix)}(\.\d+)?(\.set-aside-\d+)?")
    half = re.compile(rf"\.{re.escape(matrix)}(\.\d+)?\.partial")
    for folder in sorted(output.iterdir()) if output.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir():
            continue
        if half.fullmatch(folder.name):
            if PICKED not in read_mark(folder):
                yield _half(folder)
        elif finished.fullmatch(folder.name) and is_set_aside(folder):
            if is_as_saved_aside(folder):
                is_whole = (folder / SAVED).is_file() and (folder / RECORD).is_file()
                yield Found(folder, True) if is_whole else _half(folder)
        elif finished.fullmatch(folder.name) and saved.is_as_saved(folder.name):
            record = finished_record(output, folder.name)
            if record is not None:
                yield Found(folder, True, PICKED in record)


def _half(folder: Path) -> Found:
    fingerprint = str(read_mark(folder).get("fingerprint"))
    step = -1 if last_step(folder) is None else last_step(folder) or 0
    return Found(folder, False, step=1 << 62 if is_trained(folder, fingerprint) else step)


def _fingerprint(found: Found) -> Any:
    return read_mark(found.folder).get("fingerprint")


def _aside(found: Found, output: Path, saved: OutputHashes) -> Path:
    """Return a temporary folder name that no stage can have."""
    if is_set_aside(found.folder):
        return found.folder
    if not found.is_finished:
        return move_aside(found.folder, output, found.folder.name.strip(".").removesuffix(".partial"))
    return set_finished_aside(output, found.folder.name, saved.saved(found.folder.name))


def _put(folder: Path, output: Path, name: str, *, is_finished: bool, saved: OutputHashes) -> None:
    final = output / name if is_finished else partial_folder(output, name)
    if final.exists():
        if is_finished:
            set_finished_aside(output, name, saved.saved(name))
        else:
            move_aside(final, output, name)
    folder.rename(final)
    saved.written(name)
    if not is_finished:
        return
    record = {key: value for key, value in read_json(final / RECORD).items() if key != PICKED}
    write_json(final / RECORD, record | {"stage": name})
    (final / SAVED).unlink(missing_ok=True)
