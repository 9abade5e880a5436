"""The most that a process held is its own, not that of the process which started it."""

import resource

from ptspec.model import device
from ptspec.model.device import Device, peak_memory

CPU = Device("cpu", "cpu")


def test_what_the_kernel_says_of_this_program(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t   99 kB\nVmHWM:\t   12 kB\n")
    monkeypatch.setattr(device, "STATUS", status)
    assert peak_memory(CPU) == 12 * 1024


def test_without_it_what_getrusage_says(tmp_path, monkeypatch):
    for text in (None, "Name:\tpython\n"):
        status = tmp_path / f"status-{text is None}"
        if text is not None:
            status.write_text(text)
        monkeypatch.setattr(device, "STATUS", status)
        assert peak_memory(CPU) >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
