"""Memory of this machine available to a process. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.max")
"""Memory limit of a container, in bytes, or "max"."""


def host_memory(limit: Path = CGROUP) -> int | None:
    """Return the machine's memory, or the container's limit, in bytes; None if unknown."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, other systems not these names
        return None
    try:
        return min(memory, int(limit.read_text()))
    except (OSError, ValueError):
        return memory
