"""The runs command: list the runs of a folder."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ptspec.commands.options import say, show


class RunsFormat(str, Enum):
    """Output formats of `pt runs`."""

    TEXT = "text"
    JSON = "json"


def runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that the runs lie in.")] = Path(
        "outputs"
    ),
    format: Annotated[
        RunsFormat, typer.Option(help="A line a run, or one JSON object a line.")
    ] = RunsFormat.TEXT,
) -> None:
    """List the runs that there are.

    The newest first: when, how large, how it ended, and its headline figure.
    """
    from datetime import date
    from shutil import get_terminal_size

    from ptspec.diagnostics import InputError
    from ptspec.report.run_list import as_json, as_text
    from ptspec.report.view.listed_run import listed_run, newest_first
    from ptspec.store.run_names import OUTPUTS, is_run, no_such_run, runs_in

    if not folder.is_dir() and folder != Path(OUTPUTS):
        raise InputError(no_such_run(str(folder)))
    found = [folder] if is_run(folder) else runs_in(folder)
    listed = newest_first(map(listed_run, found))
    if format is RunsFormat.JSON:
        print(as_json(listed), end="")
    elif listed:
        width = get_terminal_size((10_000, 24)).columns
        show(as_text(listed, date.today(), width).rstrip("\n"))
    else:
        say(f"no runs in {folder}. pt run RECIPE makes one")
