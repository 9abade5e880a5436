"""One process and one GPU, whatever is visible and whoever has started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch
from small import ROOT, write_recipe

from ptspec.diagnostics import InputError
from ptspec.model import device
from ptspec.run import one_process
from ptspec.run.one_process import launched, use_one_gpu, visible_gpus

VARIABLES = (*one_process.VISIBLE, *(name for row in one_process.LAUNCHERS for name in row[1:]))


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(one_process, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(one_process, "AMD_NODES", tmp_path / "nodes")
    use_one_gpu.cache_clear()
    yield
    use_one_gpu.cache_clear()


def device_files(tmp_path, *names):
    (tmp_path / "dev").mkdir()
    for name in names:
        (tmp_path / "dev" / name).touch()


@pytest.mark.parametrize(
    ("given", "kept", "count"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, {"CUDA_VISIBLE_DEVICES": "2"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "3"}, 1),
        ({"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "GPU-aa,GPU-bb,GPU-cc"}, {"CUDA_VISIBLE_DEVICES": "GPU-aa"}, 3),
        ({"HIP_VISIBLE_DEVICES": "1,2"}, {"HIP_VISIBLE_DEVICES": "1"}, 2),
        ({}, {"CUDA_VISIBLE_DEVICES": "0"}, 0),
    ],
)
def test_of_the_visible_gpus_the_first_is_used(monkeypatch, given, kept, count):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert visible_gpus() == count
    told = use_one_gpu()
    assert {name: os.environ[name] for name in one_process.VISIBLE if name in os.environ} == kept
    assert told == use_one_gpu()
    assert told is None if count < 2 else told.startswith(f"{count} GPUs are visible: one is used (cuda:0)")


def test_gpus_are_counted_by_their_device_files_where_the_environment_names_none(tmp_path):
    device_files(tmp_path, "nvidia0", "nvidia1", "nvidia7", "nvidiactl", "nvidia-uvm", "null")
    assert visible_gpus() == 3


def test_gpus_of_amd_are_counted_by_their_nodes(tmp_path):
    for name, gpu_id in (("0", "0\n"), ("1", "51234\n"), ("2", "4321\n")):
        (tmp_path / "nodes" / name).mkdir(parents=True)
        (tmp_path / "nodes" / name / "gpu_id").write_text(gpu_id)
    assert visible_gpus() == 2


def test_torch_sees_one_gpu_afterwards(monkeypatch):
    """As torch counts the GPUs of a machine with two, before it has opened one of them."""
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)
    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", lambda: 2)
    assert torch.cuda.device_count() == 2
    use_one_gpu()
    assert torch.cuda.device_count() == 1


def test_a_process_in_which_it_is_too_late_to_hide_gpus_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    with pytest.raises(InputError, match="2 GPUs are visible") as error:
        device.training_device()
    assert "CUDA_VISIBLE_DEVICES" in error.value.diagnostics[0].hint
    assert device.find_device().place == "cuda:0"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"WORLD_SIZE": "8"}, None),
        ({"WORLD_SIZE": "2", "RANK": "1"}, ("torchrun or accelerate launch", 1, 2)),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, ("srun", 0, 4)),
        (
            {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"},
            ("srun", 3, 4),
        ),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, None),
        ({"SLURM_NTASKS": "4"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, ("mpirun", 1, 2)),
        ({"WORLD_SIZE": "two", "RANK": "1"}, None),
    ],
)
def test_how_this_process_was_started(monkeypatch, given, expected):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = launched()
    assert (found and (found.launcher, found.index, found.size)) == expected


@pytest.mark.parametrize("command", [["run"], ["eval", "--data", "data/eval.jsonl"], ["chat"]])
def test_of_several_processes_the_first_tells_it_and_none_begins(tmp_path, command):
    recipe = write_recipe(tmp_path)
    typed = [*command[:1], recipe if command == ["run"] else ROOT / "data/base_model", *command[1:]]
    begun = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "ptspec.cli", *map(str, typed)],
            env={**os.environ, "WORLD_SIZE": "2", "RANK": rank},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    (out, first), (silent, second) = (process.communicate(timeout=60) for process in processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert "error[several-processes]: torchrun or accelerate launch started 2 processes" in first
    assert (out, silent, second) == ("", "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
    assert time.monotonic() - begun < 30


@pytest.mark.slow
def test_torchrun_shows_the_error_once(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "ptspec.cli", "run", str(write_recipe(tmp_path))),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert done.stderr.count("error[several-processes]") == 1
    assert "start it without torchrun" in done.stderr
