"""Which runs there are, by name, and what to say of one that is not there. Reads no contents."""

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
"""Where ptspec puts runs, and so where they are looked for."""
SHOWN = 8
NEAR = 0.6
"""How alike two names are, from 0 to 1, for the one to be proposed."""


def is_run(folder: Path) -> bool:
    """Whether a run, finished or not, wrote into `folder`."""
    return any((folder / name).is_file() for name in (MANIFEST, EVENTS))


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs in `folder`, by name."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))
    except OSError:
        return []


def is_of_hub(text: str) -> bool:
    """Whether `text`, which is not there, can be a model on the hub: its first part is no folder here, nor
    nearly the name of the one with the runs."""
    first = text.partition("/")[0]
    is_outputs = bool(get_close_matches(first, [OUTPUTS], 1, NEAR)) and is_folder(Path(OUTPUTS))
    return is_hub_id(text) and not is_folder(Path(first)) and not is_outputs


def no_such_run(text: str) -> Diagnostic:
    """The error about the run or stage `text`, which is not there, with those that are."""
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
    """The runs in a folder that is none itself, as a hint; None where there are none."""
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
