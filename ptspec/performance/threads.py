"""How long torch's threads spin between operations before they sleep.

torch splits operations among libgomp threads. Waking a sleeping one takes as long as a small operation; a
spinning one occupies a processor. Set before torch is imported; `benchmarks/threads.py` measures it on an
idle and on a busy machine.
"""

from __future__ import annotations

import os

SPINS = "GOMP_SPINCOUNT"
POLICY = "OMP_WAIT_POLICY"
COUNT = 10_000
"""Iterations of a loop of a few nanoseconds: longer than the gap between a model's operations."""


def is_chosen() -> bool:
    """Return whether ptspec sets the count: the user has set neither variable."""
    return SPINS not in os.environ and POLICY not in os.environ


def set_spins() -> None:
    """Set `COUNT` iterations, unless the user has configured how threads wait."""
    if is_chosen():
        os.environ[SPINS] = str(COUNT)
