"""List runs by name, and report one that does not exist. Reads no contents."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ptspec.diagnostics import Diagnostic, Location
from ptspec.recipe.hints import listed
from ptspec.recipe.paths import exists, is_folder, is_hub_id

MANIFEST = "manifest.json"
EVENTS = "events.jsonl"
OUTPUTS = "outputs"
"""Folder in which ptspec puts runs and looks for them."""
SHOWN = 8
NEAR = 0.6
"""Similarity of two names, from 0 to 1, from which one is suggested."""


def is_run(folder: Path) -> bool:
    """Return whether a run, finished or not, has written into `folder`."""
    return any((folder / name).is_file() for name in (MANIFEST, EVENTS))


def runs_in(folder: Path) -> list[Path]:
    """Return the run folders in `folder`, by name."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))
    except OSError:
        return []


def is_of_hub(text: str) -> bool:
    """Return whether a missing `text` can be a hub model.

    Its first part is no local folder or typo of one.
    """
    first = text.partition("/")[0]
    is_outputs = bool(get_close_matches(first, [OUTPUTS], 1, NEAR)) and is_folder(Path(OUTPUTS))
    return is_hub_id(text) and not is_folder(Path(first)) and not is_outputs


def no_such_run(text: str) -> Diagnostic:
    """Return the error for a missing run or stage, with those that exist."""
    path = Path(text)
    folder = path.parent if path.parent != Path() else Path(OUTPUTS)
    if not is_folder(folder):
        folder = Path(OUTPUTS)
    message = f'there is no run "{text}"'
    if is_run(folder):
        names, kind = _stages(folder), "stages"
        message = f'the run {folder} has no stage "{path.name}"'
    else:
        names, kind = [run.name for run in runs_in(folder)], "runs"
    return Diagnostic("no-such-run", message, Location(text), hint=_hint(path.name, folder, names, kind))


def those_in(folder: Path) -> str | None:
    """Return the runs in a folder that is not a run, as a hint; None if there are none."""
    names = [run.name for run in runs_in(folder)]
    return f"it holds runs: {listed(names, SHOWN)}" if names else None


def _hint(name: str, folder: Path, names: Sequence[str], kind: str) -> str:
    if not names:
        return f"{folder} has no {kind}" if exists(folder) else "no run was made here yet: pt run RECIPE"
    there = f"{kind} in {folder}: {listed(names, SHOWN)}"
    close = get_close_matches(name, names, 1, NEAR)
    return f"did you mean {folder / close[0]}? {there}" if close else there


def _stages(run: Path) -> list[str]:
    return sorted(
        path.parent.name for path in run.glob("*/stage.json") if not path.parent.name.startswith(".")
    )
