"""Detect whether a launcher (torchrun, accelerate launch, mpirun, srun) started this process.

Needs no torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """This process's rank among those that `launcher` started; `local` is the rank on its node."""

    launcher: str
    index: int
    size: int
    local: int


LAUNCHERS = (
    ("torchrun or accelerate launch", "WORLD_SIZE", "RANK", "LOCAL_RANK"),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("srun", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
)
"""Launcher -> the environment variables with world size, rank, and local rank."""


def launched() -> Rank | None:
    """Return this process's rank if a launcher started it as one of several, else None."""
    for launcher, size, index, local in LAUNCHERS:
        found = Rank(launcher, _number(index, -1), _number(size, 1), _number(local, 0))
        if found.size > 1 and found.index >= 0 and not (launcher == "srun" and _is_batch_script()):
            return found
    return None


def _is_batch_script() -> bool:
    """Return whether this is the batch script of an sbatch job with several tasks, not a task of srun."""
    return "SLURM_JOB_ID" in os.environ and not {"SLURM_STEP_ID", "SLURM_STEPID"} & os.environ.keys()


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise
