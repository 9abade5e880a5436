"""Find the files of a data source, and report missing or unread ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptspec.recipe.data_files import Splits
from ptspec.recipe.findings import Findings
from ptspec.recipe.hints import did_you_mean, listed
from ptspec.recipe.json_pointer import join
from ptspec.recipe.paths import ROWS_STAND_IN, Places, holds_rows
from ptspec.recipe.source_files import Found, Paths, chosen, look, names_in, splits_of, without
from ptspec.recipe.splits import ALL, EXAMPLES, TRAIN, parse

SHOWN = 3
"""Number of files named in a message."""


def find_files(
    texts: Sequence[tuple[str, str]], split: str | None, at: str, places: Places, findings: Findings
) -> tuple[Paths, Splits]:
    """Return the files of the source at `at`, and those of each requested split.

    `texts` are its paths with their pointers. A folder whose names tell splits is read as in `datasets`: by
    default its "train", which is reported.
    """
    found = [(where, look(text, places)) for text, where in texts]
    sound = [one for where, one in found if _is_there(one, where, places, findings)]
    if split is None:
        for where, one in found:
            _tell_assumed(one, where, findings)
    elif not check_split(split, at, findings) or not _has_splits(sound, split, at, findings):
        return (), {}
    return chosen(sound, split)


def check_split(split: str, at: str, findings: Findings) -> bool:
    """Return whether the text of "split" is valid; report what is wrong."""
    try:
        slices = () if split == ALL else parse(split)
    except ValueError as error:
        findings.error("invalid-split", join(at, "split"), str(error), f"as in {EXAMPLES}")
        return False
    return bool(slices) or split == ALL


def _is_there(found: Found, where: str, places: Places, findings: Findings) -> bool:
    """Return whether `found` contains data files only; report what is wrong."""
    text = found.text
    if not found.files:
        message = f'no file with rows in "{text}"' if found.is_folder else f'no such file: "{text}"'
        hint = _in_folders(found) if found.is_folder else places.nearest(text)
        findings.error("no-such-data", where, message, hint, () if found.is_folder else places.looked(text))
    others = [file for file in found.files if not holds_rows(file)]
    for file in others:
        hint = f"{ROWS_STAND_IN}, optionally with .gz or .zst"
        findings.error("unsupported-format", where, f'"{file.name}" is in no format known here', hint)
    return bool(found.files) and not others


def _in_folders(found: Found) -> str:
    if not found.below:
        return ROWS_STAND_IN
    folder = found.below[0].parent.relative_to(found.expanded.root).as_posix()
    return f'its sub-folders have some: name them, as in "{found.text.rstrip("/")}/{folder}"'


def _tell_assumed(found: Found, where: str, findings: Findings) -> None:
    """Report which files of a folder are read by default, if not all are."""
    unread, splits = found.unnamed, listed(found.splits)
    if not found.splits:
        unread = without(found.below, [found.files]) if found.files else ()
        why = "sub-folders are read where names tell splits, and here they tell none"
    elif not found.without_split:
        message = f'"{found.text}" holds the splits {splits}, and none is "{TRAIN}"'
        findings.error(
            "unknown-split", where, message, f'say which to read: "split": "{next(iter(found.splits))}"'
        )
        return
    else:
        why = "names tell no split"
        if len(found.splits) > 1:
            hint = f'for all of them "split": "{"+".join(found.splits)}"'
            message = f'"{found.text}" holds the splits {splits}; "{TRAIN}" is read'
            findings.warn("split-assumed", where, message, hint)
    _tell_unread(unread, found.expanded.root, why, where, 'to read them, name them in "path"', findings)


def _has_splits(found: Sequence[Found], split: str, at: str, findings: Findings) -> bool:
    """Return whether the splits that `split` names exist; report a missing one."""
    splits = splits_of(found) if found else {}
    missing = [name for name in names_in(split, splits) if name not in splits]
    for name in missing if found else ():
        hint = did_you_mean(name, splits) or f"splits there: {listed(splits)}"
        findings.error("unknown-split", join(at, "split"), f'no file is of the split "{name}"', hint)
    unread = without(tuple(file for one in found for file in one.files), splits.values())
    if found:
        root, hint = found[0].expanded.root, "to read them, give them a source of their own"
        _tell_unread(unread, root, "names tell no split", join(at, "split"), hint, findings)
    return bool(found) and not missing


def _tell_unread(files: Paths, root: Path, why: str, where: str, hint: str, findings: Findings) -> None:
    if not files:
        return
    names = [
        file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        for file in files[:SHOWN]
    ]
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    message = f"not read: {', '.join(names)}{more} ({why})"
    findings.warn("files-not-read", where, message, hint)
