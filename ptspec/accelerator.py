"""Detect the accelerators of this machine without importing torch."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
DEVICES = Path("/dev")
AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
CORES = Path("/sys/devices/system/cpu")


def has_accelerator() -> bool:
    """Return whether this machine appears to have a GPU, without importing torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd"))


_kept: Mapping[str, str] | None = None


def given() -> Mapping[str, str]:
    """Return the environment variables that list GPUs; after `keep_given`, their values at that call."""
    return {name: os.environ[name] for name in VISIBLE if name in os.environ} if _kept is None else _kept


def keep_given() -> None:
    """Record the GPU variables before this process changes them."""
    global _kept
    _kept = given()


def visible_gpus() -> int:
    """Count the GPUs that this process may use.

    Counts those listed in the environment, else NVIDIA's device files or the nodes of AMD's driver; 0 if none
    is found.
    """
    listed = [devices.split(",") for devices in given().values()]
    if listed:
        return min(len([device for device in devices if device.strip()]) for devices in listed)
    nvidia = [path for path in _listdir(DEVICES) if re.fullmatch(r"nvidia\d+", path.name)]
    return len(nvidia) or sum(_is_gpu(node) for node in _listdir(AMD_NODES))


def device_words() -> str:
    """Return the compute device in torch's words: the first GPU's name, or "cpu, 2 threads"."""
    if not has_accelerator():
        return cpu_words(_threads())
    if platform.system() == "Darwin":
        return "Apple GPU"
    return next(_nvidia_names(), "GPU")


def cpu_words(threads: int) -> str:
    """Return the device name for `threads` CPU threads: "cpu, 2 threads"."""
    return f"cpu, {threads} thread{'s' if threads != 1 else ''}"


def _nvidia_names() -> Iterator[str]:
    """Return the GPU names that NVIDIA's driver reports."""
    for gpu in sorted(_listdir(NVIDIA_GPUS)):
        try:
            told = (gpu / "information").read_text(errors="replace")
        except OSError:
            continue
        if found := re.search(r"^Model:\s*(\S.*?)\s*$", told, re.MULTILINE):
            yield found[1]


def _threads() -> int:
    """Return the number of torch's threads: one per usable core, or fewer if the environment sets it."""
    cores = _cores()
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        asked = os.environ.get(name, "").split(",")[0].strip()
        if asked.isdigit() and int(asked) > 0:
            return min(int(asked), cores)
    return cores


def _cores() -> int:
    """Count the physical cores that this process may use; hyperthreads of one core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    shared = set()
    for one in allowed:
        try:
            siblings = (CORES / f"cpu{one}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(one)
        shared.add(siblings)
    return len(shared)


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
