"""How long torch's threads spin while they wait for their next operation, before they sleep.

torch divides an operation among threads of libgomp. To wake one that sleeps takes as long as a small
operation does; one that spins takes a processor from whatever else runs. Set before torch is imported;
`benchmarks/threads.py` measures it on an idle machine and on a busy one.
"""

from __future__ import annotations

import os

SPINS = "GOMP_SPINCOUNT"
POLICY = "OMP_WAIT_POLICY"
COUNT = 10_000
"""Turns of a loop of a few nanoseconds each: longer than the gap between two operations of a model."""


def is_chosen() -> bool:
    """Whether the count is ours: the user has set neither variable."""
    return SPINS not in os.environ and POLICY not in os.environ


def set_spins() -> None:
    """Lets threads spin `COUNT` turns, unless the user has said how they wait."""
    if is_chosen():
        os.environ[SPINS] = str(COUNT)
