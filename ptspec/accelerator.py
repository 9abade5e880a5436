"""Whether this machine has an accelerator. Asks no torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def world_size() -> int:
    """How many processes train together, as their launcher says."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def has_accelerator() -> bool:
    """Whether this machine seems to have one, without asking torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    return any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd"))
