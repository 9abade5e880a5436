"""What a machine computes on, in torch's words, without torch."""

from __future__ import annotations

import os

import pytest

from ptspec import accelerator
from ptspec.accelerator import device_words
from ptspec.model.device import find_device

LIMITS = ("MKL_NUM_THREADS", "OMP_NUM_THREADS")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without GPUs that has four cores of two threads each, of which this process may use three."""
    for cpu in range(8):
        topology = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(accelerator, "CORES", tmp_path / "cpu")
    monkeypatch.setattr(accelerator, "NVIDIA_GPUS", tmp_path / "gpus")
    monkeypatch.setattr(accelerator, "has_accelerator", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 4, 5, 6}, raising=False)
    for name in LIMITS:
        monkeypatch.setenv(name, "")
    return tmp_path


def test_they_are_torchs_own():
    assert device_words() == find_device().words


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "cpu, 3 threads"),
        ({"OMP_NUM_THREADS": "1"}, "cpu, 1 thread"),
        ({"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "1"}, "cpu, 1 thread"),
        ({"OMP_NUM_THREADS": "2,1"}, "cpu, 2 threads"),
        ({"OMP_NUM_THREADS": "64"}, "cpu, 3 threads"),
        ({"OMP_NUM_THREADS": "many"}, "cpu, 3 threads"),
    ],
)
def test_threads_are_those_that_torch_takes(variables, words, machine, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert device_words() == words


def test_a_gpu_has_the_name_that_its_driver_gives(machine, monkeypatch):
    monkeypatch.setattr(accelerator, "has_accelerator", lambda: True)
    monkeypatch.setattr(accelerator.platform, "system", lambda: "Linux")
    assert device_words() == "GPU"
    (machine / "gpus" / "0000:01:00.0").mkdir(parents=True)
    told = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 22\n"
    (machine / "gpus" / "0000:01:00.0" / "information").write_text(told)
    assert device_words() == "NVIDIA H100 80GB HBM3"
