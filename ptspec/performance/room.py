"""Whether a stage fits a device."""

from __future__ import annotations

from ptspec.performance.machine import Machine

ROOM = 0.9
"""Share of a device's memory that a stage may use; the rest is for fragmentation and workspaces."""


def fits(needed: int | None, machine: Machine) -> bool | None:
    """Return whether `needed` bytes fit; None if either size is unknown."""
    if needed is None or machine.memory is None:
        return None
    return needed <= ROOM * machine.memory
