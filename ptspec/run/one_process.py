"""Before any library is imported: which GPU this process uses, and whether it is alone. Asks no torch."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping

from ptspec.accelerator import VISIBLE, given, keep_given, visible_gpus
from ptspec.diagnostics import Diagnostic, InputError
from ptspec.launched import Rank, launched
from ptspec.library_output import quiet_environment

SECONDS_FOR_RANK_0 = 2.0

GARBAGE = (700, 10, 10)
"""Python's own thresholds, which `pt` raises while no library is loaded: garbage may hold tensors."""


def prepare_process() -> str | None:
    """Makes this process ready to import torch; returns what a user should be told of its GPUs, if anything.

    Raises `InputError` in each of several processes of one launcher.
    """
    must_be_alone()
    quiet_environment()
    gc.set_threshold(*GARBAGE)
    return use_one_gpu()


def prepare_worker(rank: Rank | None) -> None:
    """Makes a process that does jobs for another, or with others (`rank`), ready to import torch: each takes
    a GPU of its own."""
    quiet_environment()
    gc.set_threshold(*GARBAGE)
    use_one_gpu(rank.local if rank is not None else 0)


def must_be_alone() -> None:
    """Raises `InputError` where a launcher started several of this process, of a command that is one.

    The first rank tells it; the others end with the same exit code and say nothing."""
    rank = launched()
    if rank is None:
        return
    if rank.index > 0:
        # A launcher ends every rank as soon as one has ended: the first must have spoken by then.
        time.sleep(SECONDS_FOR_RANK_0)
        raise InputError()
    message = f"{rank.launcher} started {rank.size} processes of this command, and it is one process"
    hint = f"start it without {rank.launcher.partition(' ')[0]}: pt run alone takes several processes"
    raise InputError(Diagnostic("several-processes", message, hint=hint))


def use_one_gpu(local: int = 0) -> str | None:
    """Lets torch see one GPU, that of the process number `local` of this node among those that are visible,
    since TRL's trainers refuse to run in one process that sees several. Returns what to tell where there were
    several for one process; the environment is changed once.
    """
    keep_given()
    numbered = ",".join(str(device) for device in range(local + 1))
    for name, listed in (given() or {"CUDA_VISIBLE_DEVICES": numbered}).items():
        devices = listed.split(",")
        # A value that is empty stays so: it hides every GPU.
        os.environ[name] = devices[local % len(devices)]
    if (count := visible_gpus()) < 2:
        return None
    return f"{count} GPUs are visible: one is used (cuda:0), since stages train in one process"


def every_gpu() -> Mapping[str, str | None]:
    """The variables as they were before `use_one_gpu`, for processes that choose by themselves; None: not
    set."""
    return {name: given().get(name) for name in VISIBLE}
