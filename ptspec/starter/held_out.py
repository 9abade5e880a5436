"""The rows that a starter recipe measures on: a file or a split that is there for that, or the last rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.recipe.splits import TRAIN, parse
from ptspec.starter.rows import GivenRows, first_row_of

BESIDE = ("eval", "test", "validation", "valid", "heldout", "dev")
"""Names of files with held-out rows."""
SPLITS = ("validation", "test")
FEWEST = 20
"""Of fewer rows none are held out: two or three say nothing."""
MOST = 200
"""An evaluation takes time, and of a large file a tenth is more than intervals need."""


@dataclass(frozen=True)
class HeldOut:
    """Keys of the sources beside their columns, for `train` and `heldout`.

    `heldout` None: nothing is held out. `note`: the same in words.
    """

    train: Mapping[str, Any]
    heldout: Mapping[str, Any] | None
    note: str
    rows: int | None = None
    """The rows that are left to train on, where they were counted."""


def hold_out(given: GivenRows, place: str) -> HeldOut:
    """What of `given`, which the recipe names as `place`, is trained on, and what is measured on."""
    whole = {"path": place}
    if (beside := _beside(given)) is not None:
        return HeldOut(whole, {"path": str(Path(place).with_name(beside))}, f"the rows of {beside}")
    if (
        split := next((name for name in SPLITS if name in given.splits), None)
    ) is not None and given.can_be_cut:
        return HeldOut({**whole, "split": TRAIN}, {**whole, "split": split}, f'the split "{split}"')
    if not given.can_be_cut:
        return HeldOut(whole, None, f'nothing: no split is called "{TRAIN}"')
    rows = given.count()
    if rows < FEWEST:
        return HeldOut(whole, None, f"nothing: {rows} rows are too few, and nothing will be measured", rows)
    cut = "90%" if rows // 10 < MOST else f"-{MOST}"
    held = _last(rows, cut)
    return HeldOut(
        {**whole, "split": f"{TRAIN}[:{cut}]"},
        {**whole, "split": f"{TRAIN}[{cut}:]"},
        f"the last {held} of {rows:,} rows (shuffle the file first if its rows are in an order)",
        rows - held,
    )


def _last(rows: int, cut: str) -> int:
    """How many rows the slice is."""
    start, stop = parse(f"{TRAIN}[{cut}:]")[0].bounds(rows)
    return stop - start


def _beside(given: GivenRows) -> str | None:
    """The name of a file beside a single file that is called like held-out data and has its columns."""
    if given.is_folder:
        return None
    file = given.path
    for name in BESIDE:
        beside = file.with_name(name + "".join(file.suffixes))
        try:
            if beside != file and beside.is_file() and first_row_of(beside).names == given.first.names:
                return beside.name
        except InputError:
            continue
    return None
