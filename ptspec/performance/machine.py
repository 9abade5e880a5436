"""What the choices need to know of a stage's device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

CPU = "cpu"


@dataclass(frozen=True)
class Machine:
    """A device; `kind` is torch's device type.

    `memory`: bytes of the device, per process; `cores`: available processors; `threads`: those that one
    process uses; `capability`: compute capability of an NVIDIA GPU. None: unknown.
    """

    kind: str
    memory: int | None = None
    cores: int = 1
    threads: int = 1
    capability: tuple[int, int] | None = None

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return self.kind == CPU

    @property
    def words(self) -> str:
        """The device in words: "a CPU", "a GPU (cuda)"."""
        return "a CPU" if self.is_cpu else f"a GPU ({self.kind})"


def this_machine(kind: str, memory: int | None, capability: tuple[int, int] | None = None) -> Machine:
    """Return this machine's processors with a device of `kind`."""
    cores = usable_cores()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(kind, memory, cores, min(cores, int(asked)) if asked.isdecimal() else cores, capability)


def usable_cores() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # other systems than Linux
        return os.cpu_count() or 1


def has_package(name: str) -> bool:
    """Return whether the Python package `name` is installed, without importing it."""
    return find_spec(name) is not None
