"""Whether a stage fits a device."""

from __future__ import annotations

from ptspec.performance.machine import Machine

ROOM = 0.9
"""The part of a device's memory that a stage is given; the rest goes to fragmentation and workspaces."""


def fits(needed: int | None, machine: Machine) -> bool | None:
    """None where what is needed, or the memory, is not known."""
    if needed is None or machine.memory is None:
        return None
    return needed <= ROOM * machine.memory
