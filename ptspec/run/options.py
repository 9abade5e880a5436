"""Options of a run besides the recipe."""

from __future__ import annotations

from dataclasses import dataclass

LOG = "run.log"


@dataclass(frozen=True)
class Options:
    """Options of a run.

    `until`: the last stage to run. `fresh`: train finished stages again. `max_seconds`: save and stop after
    this time. `allow_code`: Python functions and remote code of the recipe may run. `ignore_checks`: continue
    after a failed check. `command`: the command line. `isolate`: each stage in its own process. `embedded`:
    called from the user's program, whose signals, output and environment stay unchanged. `warnings`: those of
    the check before the run, for the report.
    """

    until: str | None = None
    fresh: bool = False
    max_seconds: float | None = None
    allow_code: bool = False
    command: str | None = None
    ignore_checks: bool = False
    isolate: bool = False
    embedded: bool = False
    warnings: tuple[str, ...] = ()
