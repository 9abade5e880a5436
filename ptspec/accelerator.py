"""Which accelerators this machine has. Asks no torch."""

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
    """Whether this machine seems to have one, without asking torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd"))


_kept: Mapping[str, str] | None = None


def given() -> Mapping[str, str]:
    """The variables of the environment that list GPUs; after `keep_given` as they were then."""
    return {name: os.environ[name] for name in VISIBLE if name in os.environ} if _kept is None else _kept


def keep_given() -> None:
    """Remembers those variables, for who changes them in this process."""
    global _kept
    _kept = given()


def visible_gpus() -> int:
    """The GPUs that this process was given: those that are listed in the environment, else the device files
    of NVIDIA's driver or the nodes of AMD's. 0 where neither tells."""
    listed = [devices.split(",") for devices in given().values()]
    if listed:
        return min(len([device for device in devices if device.strip()]) for devices in listed)
    nvidia = [path for path in _listdir(DEVICES) if re.fullmatch(r"nvidia\d+", path.name)]
    return len(nvidia) or sum(_is_gpu(node) for node in _listdir(AMD_NODES))


def device_words() -> str:
    """What this process computes on, in the words that torch would give: the first GPU's name, or "cpu, 2
    threads"."""
    if not has_accelerator():
        return cpu_words(_threads())
    if platform.system() == "Darwin":
        return "Apple GPU"
    return next(_nvidia_names(), "GPU")


def cpu_words(threads: int) -> str:
    return f"cpu, {threads} thread{'s' if threads != 1 else ''}"


def _nvidia_names() -> Iterator[str]:
    """The names that NVIDIA's driver gives its GPUs."""
    for gpu in sorted(_listdir(NVIDIA_GPUS)):
        try:
            told = (gpu / "information").read_text(errors="replace")
        except OSError:
            continue
        if found := re.search(r"^Model:\s*(\S.*?)\s*$", told, re.MULTILINE):
            yield found[1]


def _threads() -> int:
    """The threads that torch computes with: one a core of those that this process may use, or fewer where
    the environment says so."""
    cores = _cores()
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        asked = os.environ.get(name, "").split(",")[0].strip()
        if asked.isdigit() and int(asked) > 0:
            return min(int(asked), cores)
    return cores


def _cores() -> int:
    """The cores that this process may use; the two threads of one count as one."""
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
