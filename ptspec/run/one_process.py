"""Prepare a process before any library is imported: its GPU, and that it is the only one. Needs no torch."""

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
"""Python's default thresholds, restored from `pt`'s higher ones: garbage may hold tensors."""


def prepare_process() -> str | None:
    """Prepare this process to import torch; return a message about its GPUs, if any.

    Raises `InputError` in each process if a launcher started several.
    """
    must_be_alone()
    quiet_environment()
    gc.set_threshold(*GARBAGE)
    return use_one_gpu()


def prepare_worker(rank: Rank | None) -> None:
    """Prepare a worker process (`rank`: one of several) to import torch, each with its own GPU."""
    quiet_environment()
    gc.set_threshold(*GARBAGE)
    use_one_gpu(rank.local if rank is not None else 0)


def must_be_alone() -> None:
    """Raise `InputError` if a launcher started several processes of a single-process command.

    Rank 0 prints the error; the others exit with the same code.
    """
    rank = launched()
    if rank is None:
        return
    if rank.index > 0:
        # A launcher ends every rank as soon as one has ended: rank 0 must print first.
        time.sleep(SECONDS_FOR_RANK_0)
        raise InputError()
    message = f"{rank.launcher} started {rank.size} processes of this command, and it is one process"
    hint = f"start it without {rank.launcher.partition(' ')[0]}: pt run alone takes several processes"
    raise InputError(Diagnostic("several-processes", message, hint=hint))


def use_one_gpu(local: int = 0) -> str | None:
    """Make one visible GPU visible to torch: that of local rank `local`.

    TRL's trainers refuse to run in one process that sees several. Returns a message if there were several for
    one process; the environment is changed once.
    """
    keep_given()
    numbered = ",".join(str(device) for device in range(local + 1))
    for name, listed in (given() or {"CUDA_VISIBLE_DEVICES": numbered}).items():
        devices = listed.split(",")
        # Keep an empty value: it hides every GPU.
        os.environ[name] = devices[local % len(devices)]
    if (count := visible_gpus()) < 2:
        return None
    return f"{count} GPUs are visible: one is used (cuda:0), since stages train in one process"


def every_gpu() -> Mapping[str, str | None]:
    """Return the variables as before `use_one_gpu`, for child processes; None: not set."""
    return {name: given().get(name) for name in VISIBLE}
