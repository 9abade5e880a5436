"""Whether a launcher (torchrun, accelerate launch, mpirun, srun) started this process, and as which of how
many. Asks no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """The place of this process among those that `launcher` has started; `local`: among those of its node."""

    launcher: str
    index: int
    size: int
    local: int


LAUNCHERS = (
    ("torchrun or accelerate launch", "WORLD_SIZE", "RANK", "LOCAL_RANK"),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("srun", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
)
"""Launcher, and the variables in which it tells each process how many there are, which it is, and which of
its node."""


def launched() -> Rank | None:
    """How a launcher started this process, if that was one of several."""
    for launcher, size, index, local in LAUNCHERS:
        found = Rank(launcher, _number(index, -1), _number(size, 1), _number(local, 0))
        if found.size > 1 and found.index >= 0 and not (launcher == "srun" and _is_batch_script()):
            return found
    return None


def _is_batch_script() -> bool:
    """Whether this is the script that sbatch runs once, of a job of several tasks, and no task of srun's."""
    return "SLURM_JOB_ID" in os.environ and not {"SLURM_STEP_ID", "SLURM_STEPID"} & os.environ.keys()


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise
