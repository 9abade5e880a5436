"""What this machine computes on, and the training defaults that follow from it."""

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
    """`kind` is torch's device type; `words` is what a person reads ("cpu, 2 threads")."""

    kind: str
    words: str

    @property
    def is_cpu(self) -> bool:
        return self.kind == "cpu"

    @property
    def place(self) -> str:
        """Where weights are put: of the GPUs that this process sees the first."""
        return "cuda:0" if self.kind == "cuda" else self.kind


def find_device() -> Device:
    """The accelerator if there is one, else the CPU."""
    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.get_device_name(0))
    if torch.backends.mps.is_available():
        return Device("mps", "Apple GPU")
    return Device("cpu", cpu_words(torch.get_num_threads()))


def device_memory(device: Device) -> int | None:
    """Bytes of a GPU's memory; None of another device."""
    return int(torch.cuda.get_device_properties(0).total_memory) if device.kind == "cuda" else None


def device_capability(device: Device) -> tuple[int, int] | None:
    """The compute capability of an NVIDIA GPU; None of another device."""
    return torch.cuda.get_device_capability(0) if device.kind == "cuda" else None


def training_device() -> Device:
    """The device, for a command that trains.

    Raises `InputError` where this process sees several GPUs all the same: CUDA was in use before the command
    could hide the others."""
    device = find_device()
    if device.kind == "cuda" and torch.cuda.device_count() > 1:
        message = f"{torch.cuda.device_count()} GPUs are visible, and TRL trains on one a process"
        hint = "set CUDA_VISIBLE_DEVICES to one of them before Python starts: CUDA_VISIBLE_DEVICES=0 pt run …"
        raise InputError(Diagnostic("several-gpus", message, hint=hint))
    return device


def training_defaults(device: Device, precision: str | None) -> Mapping[str, Any]:
    """TRL config values that fit the device, where neither recipe nor method says otherwise.

    TRL takes bf16 and gradient checkpointing everywhere; on a CPU each makes training 15-20 % slower and
    bf16 inexact, so there both are off.
    """
    mixed = {"bf16": precision == "bf16", "fp16": precision == "fp16"} if precision else {}
    if not device.is_cpu:
        return mixed
    off = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "dataloader_pin_memory": False}
    return off | mixed


PEAK_RESET = Path("/proc/self/clear_refs")
"""Linux: a 5 written here makes the largest resident set begin anew (proc_pid_clear_refs(5))."""


def begin_peak_memory(device: Device) -> None:
    """Start a measurement of `peak_memory`; where a system other than Linux has no way to, it goes on."""
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif device.is_cpu:
        with suppress(OSError):
            PEAK_RESET.write_text("5")


def peak_memory(device: Device) -> int:
    """Return bytes: on a GPU the most that was allocated since `begin_peak_memory`, on a CPU the process's
    largest resident set since then (on other systems than Linux since it began)."""
    if device.kind == "cuda":
        return int(torch.cuda.max_memory_allocated())
    with contextlib.suppress(OSError, StopIteration):
        # What getrusage tells begins, on Linux, with what the process held that started this one.
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    kibibytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kibibytes
