"""What is asked of a run beside the recipe."""

from __future__ import annotations

from dataclasses import dataclass

LOG = "run.log"


@dataclass(frozen=True)
class Options:
    """`until`: the last stage to run. `fresh`: train again what is finished.
    `max_seconds`: save and stop after so long. `allow_code`: the recipe may
    name Python functions and remote code, which are then run. `ignore_checks`: a check that does not hold
    is told, and the run goes on. `command`: what was typed. `isolate`: each stage in a process of its own.
    `embedded`: in a program of the user's, whose signals, output and environment are left as they are.
    `warnings`: what the check before the run warned of, for the run's report."""

    until: str | None = None
    fresh: bool = False
    max_seconds: float | None = None
    allow_code: bool = False
    command: str | None = None
    ignore_checks: bool = False
    isolate: bool = False
    embedded: bool = False
    warnings: tuple[str, ...] = ()
