"""The GPUs of this machine, and why torch cannot use one. Imports torch only if nothing else decides."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ptspec.accelerator import DEVICES, device_words, given, visible_gpus
from ptspec.diagnostics import Diagnostic, first_line

PCI = Path("/sys/bus/pci/devices")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
NVIDIA = "0x10de"
_DISPLAY = "0x03"
"""How the PCI class of a graphics card begins, one without a screen too."""
_BUILT_FOR = re.compile(r"^(cuda|hip)\b[^=]*=\s*['\"]([\d.]+)", re.MULTILINE)


@dataclass(frozen=True)
class Gpu:
    """The compute device.

    `words`: its name ("NVIDIA H100", "cpu, 2 threads"); `fault`: why an existing GPU is not used;
    `asked_torch`: whether torch was imported to find out.
    """

    words: str
    fault: Diagnostic | None = None
    asked_torch: bool = False


def look_for_gpu(before_torch: Callable[[], None]) -> Gpu:
    """Find the compute device. `before_torch` is called before torch is imported, which takes seconds."""
    if platform.system() == "Darwin":
        return Gpu(device_words())
    cards = _nvidia_cards()
    files = [path for path in _listdir(DEVICES) if re.fullmatch(r"nvidia\d+", path.name)]
    if not cards and not files and not (DEVICES / "kfd").exists():
        return Gpu(device_words())
    if (why := _why_not(cards, files)) is not None:
        return Gpu(device_words(), _unseen(*why))
    before_torch()
    return _asked()


def _why_not(cards: int, files: list[Path]) -> tuple[str, str] | None:
    """Return why torch cannot use an existing GPU, as far as can be found without importing torch."""
    hidden = [f"{name}={value!r}" for name, value in given().items() if value.strip() in ("", "-1")]
    if hidden or (given() and not visible_gpus()):
        return f"{', '.join(hidden) or 'the environment'} hides it", f"unset {next(iter(given()))}"
    if cards and not files:
        hint = "install NVIDIA's driver; in a container: docker run --gpus all, or the toolkit's runtime"
        return "there is no driver for it here (no /dev/nvidia0)", hint
    if closed := [path.name for path in files if not os.access(path, os.R_OK | os.W_OK)]:
        return f"this user may not open /dev/{closed[0]}", "ask for the group that may (ls -l /dev/nvidia*)"
    if (built := _built_for()) is not None and not built:
        return (
            "this torch is built for CPUs",
            "pip install torch from an index with CUDA: pytorch.org/get-started",
        )
    return None


def _built_for() -> str | None:
    """Return torch's build ("cuda 12.8", "hip 6.4", "" for CPU) from its version.py; None if not there."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    built = _BUILT_FOR.search(text)
    return f"{built[1]} {built[2]}" if built else ""


def _asked() -> Gpu:
    import torch

    try:
        torch.cuda.init()
        return Gpu(torch.cuda.get_device_name(0), asked_torch=True)
    except Exception as error:  # drivers and libraries raise various exceptions
        why = f"torch ({_built_for() or torch.__version__}) says: {first_line(error)}"
        hint = "a driver as new as torch's CUDA, or a torch for this driver"
        driver = _driver()
        return Gpu(device_words(), _unseen(why, f"{hint} ({driver})" if driver else hint), asked_torch=True)


def _unseen(why: str, hint: str) -> Diagnostic:
    return Diagnostic("gpu-unseen", f"this machine has a GPU that will not be used: {why}", hint=hint)


def _driver() -> str | None:
    try:
        found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", NVIDIA_DRIVER.read_text(errors="replace"))
    except OSError:
        return None
    return f"driver {found[1]}" if found else None


def _nvidia_cards() -> int:
    """Count NVIDIA's graphics cards on the PCI bus, with or without a driver."""
    return sum(
        _read(card / "vendor") == NVIDIA and _read(card / "class").startswith(_DISPLAY)
        for card in _listdir(PCI)
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _listdir(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
