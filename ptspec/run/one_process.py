"""Before any library is imported: this command is one process, and it uses one GPU. Asks no torch."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptspec.diagnostics import Diagnostic, InputError
from ptspec.library_output import quiet_environment

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
DEVICES = Path("/dev")
AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
SECONDS_FOR_RANK_0 = 2.0


@dataclass(frozen=True)
class Rank:
    """The place of this process among those that `launcher` has started."""

    launcher: str
    index: int
    size: int


LAUNCHERS = (
    ("torchrun or accelerate launch", "WORLD_SIZE", "RANK"),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("srun", "SLURM_NTASKS", "SLURM_PROCID"),
)
"""Launcher, and the variables in which it tells each process how many there are and which it is."""


def prepare_process() -> str | None:
    """Makes this process ready to import torch; returns what a user should be told of its GPUs, if anything.

    Raises `InputError` in each of several processes of one launcher.
    """
    must_be_alone()
    quiet_environment()
    return use_one_gpu()


def launched() -> Rank | None:
    """How a launcher started this process, if that was one of several."""
    for launcher, size, index in LAUNCHERS:
        found = Rank(launcher, _number(index, -1), _number(size, 1))
        if found.size > 1 and found.index >= 0 and not (launcher == "srun" and _is_batch_script()):
            return found
    return None


def must_be_alone() -> None:
    """Raises `InputError` where a launcher started several of this process: each would train the same stages
    into the same folder. The first rank tells it; the others end with the same exit code and say nothing."""
    rank = launched()
    if rank is None:
        return
    if rank.index > 0:
        # A launcher ends every rank as soon as one has ended: the first must have spoken by then.
        time.sleep(SECONDS_FOR_RANK_0)
        raise InputError()
    message = f"{rank.launcher} started {rank.size} processes of this command, and it is one process"
    hint = f"start it without {rank.launcher.partition(' ')[0]}: stages train in one process, on one device"
    raise InputError(Diagnostic("several-processes", message, hint=hint))


@functools.cache
def use_one_gpu() -> str | None:
    """Lets torch see one GPU, the first of those that are visible, since TRL's trainers refuse to run in one
    process that sees several. Returns what to tell where there were several; the environment is changed once.
    """
    count = visible_gpus()
    for name in [name for name in VISIBLE if name in os.environ] or ["CUDA_VISIBLE_DEVICES"]:
        # A value that is empty stays so: it hides every GPU.
        os.environ[name] = os.environ.get(name, "0").partition(",")[0]
    if count < 2:
        return None
    return f"{count} GPUs are visible: one is used (cuda:0), since stages train in one process"


def visible_gpus() -> int:
    """The GPUs that a process started now would see: those that are listed in the environment, else the
    device files of NVIDIA's driver or the nodes of AMD's. 0 where neither tells."""
    listed = [os.environ[name].split(",") for name in VISIBLE if name in os.environ]
    if listed:
        return min(len([device for device in devices if device.strip()]) for devices in listed)
    nvidia = [path for path in _listdir(DEVICES) if re.fullmatch(r"nvidia\d+", path.name)]
    return len(nvidia) or sum(_is_gpu(node) for node in _listdir(AMD_NODES))


def _is_batch_script() -> bool:
    """Whether this is the script that sbatch runs once, of a job of several tasks, and no task of srun's."""
    return "SLURM_JOB_ID" in os.environ and not {"SLURM_STEP_ID", "SLURM_STEPID"} & os.environ.keys()


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise


def _listdir(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _is_gpu(node: Path) -> bool:
    try:
        return int((node / "gpu_id").read_text()) != 0
    except (OSError, ValueError):
        return False
