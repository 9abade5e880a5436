"""What is measured of the device."""

from __future__ import annotations

import sys

import pytest
import torch

from ptspec.model.device import Device, begin_peak_memory, peak_memory

CPU = Device("cpu", "cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep one peak for the whole process")
def test_the_peak_of_a_stage_is_not_that_of_what_came_before():
    torch.ones(100_000_000)  # 400 MB, freed at once
    before = peak_memory(CPU)
    begin_peak_memory(CPU)
    begun = peak_memory(CPU)
    assert begun < before - 300e6
    held = torch.ones(50_000_000)
    assert 150e6 < peak_memory(CPU) - begun < 300e6
    del held
