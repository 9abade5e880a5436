"""This machine's compute device, and the training defaults that follow from it."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ptspec.accelerator import cpu_words
from ptspec.diagnostics import Diagnostic, InputError

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Device:
    """`kind` is torch's device type; `words` is its display name ("cpu, 2 threads")."""

    kind: str
    words: str

    @property
    def is_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return self.kind == "cpu"

    @property
    def place(self) -> str:
        """torch's device for weights: the first visible GPU, or the CPU."""
        return "cuda:0" if self.kind == "cuda" else self.kind


def find_device() -> Device:
    """Return the accelerator if there is one, else the CPU."""
    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.get_device_name(0))
    if torch.backends.mps.is_available():
        return Device("mps", "Apple GPU")
    return Device("cpu", cpu_words(torch.get_num_threads()))


def device_memory(device: Device) -> int | None:
    """Return a GPU's memory in bytes; None for another device."""
    return int(torch.cuda.get_device_properties(0).total_memory) if device.kind == "cuda" else None


def device_capability(device: Device) -> tuple[int, int] | None:
    """Return the compute capability of an NVIDIA GPU; None for another device."""
    return torch.cuda.get_device_capability(0) if device.kind == "cuda" else None


def training_device() -> Device:
    """Return the device for training.

    Raises `InputError` if this process sees several GPUs, because CUDA was initialised before the others
    could be hidden.
    """
    device = find_device()
    if device.kind == "cuda" and torch.cuda.device_count() > 1:
        message = f"{torch.cuda.device_count()} GPUs are visible, and TRL trains on one a process"
        hint = "set CUDA_VISIBLE_DEVICES to one of them before Python starts: CUDA_VISIBLE_DEVICES=0 pt run …"
        raise InputError(Diagnostic("several-gpus", message, hint=hint))
    return device


def training_defaults(device: Device, precision: str | None) -> Mapping[str, Any]:
    """Return TRL config values for the device, unless recipe or method sets them.

    TRL's defaults are bf16 and gradient checkpointing; on a CPU each makes training 15-20 % slower and bf16
    inexact, so both are off there.
    """
    mixed = {"bf16": precision == "bf16", "fp16": precision == "fp16"} if precision else {}
    if not device.is_cpu:
        return mixed
    off = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "dataloader_pin_memory": False}
    return off | mixed


PEAK_RESET = Path("/proc/self/clear_refs")
"""Linux file; writing 5 resets the largest resident set (proc_pid_clear_refs(5))."""


def begin_peak_memory(device: Device) -> None:
    """Start measuring `peak_memory`; without effect on systems other than Linux."""
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif device.is_cpu:
        with suppress(OSError):
            PEAK_RESET.write_text("5")


def peak_memory(device: Device) -> int:
    """Return the peak bytes since `begin_peak_memory`: allocated on a GPU, the resident set on a CPU.

    On systems other than Linux since the start of the process.
    """
    if device.kind == "cuda":
        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError, StopIteration):
        # On Linux getrusage starts from the resident set of the parent process.
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    kibibytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kibibytes
