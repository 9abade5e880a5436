"""Return freed memory to the system."""

from __future__ import annotations

import ctypes
import gc
import sys

import torch


def give_back() -> None:
    """Release free memory on the device and the host, where glibc keeps freed blocks."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
