"""What the choices need to know of the device that a stage trains on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

CPU = "cpu"


@dataclass(frozen=True)
class Machine:
    """`kind` is torch's device type.

    `memory`: bytes of the device, for each process; `cores`: processors that there are; `threads`: of them,
    those that one process computes on; `capability`: of an NVIDIA GPU. None: not known."""

    kind: str
    memory: int | None = None
    cores: int = 1
    threads: int = 1
    capability: tuple[int, int] | None = None

    @property
    def is_cpu(self) -> bool:
        return self.kind == CPU

    @property
    def words(self) -> str:
        """ "a CPU", "a GPU (cuda)"."""
        return "a CPU" if self.is_cpu else f"a GPU ({self.kind})"


def this_machine(kind: str, memory: int | None, capability: tuple[int, int] | None = None) -> Machine:
    """This machine's processors beside a device of `kind`."""
    cores = usable_cores()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(kind, memory, cores, min(cores, int(asked)) if asked.isdecimal() else cores, capability)


def usable_cores() -> int:
    """The processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # other systems than Linux
        return os.cpu_count() or 1


def has_package(name: str) -> bool:
    """Whether the Python package `name` is installed; it is not imported."""
    return find_spec(name) is not None
