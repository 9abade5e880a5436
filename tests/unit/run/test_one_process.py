"""One process and one GPU, whatever is visible and whoever has started it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest
import torch
from support.small import ROOT, write_recipe

from ptspec import accelerator, cli
from ptspec.accelerator import visible_gpus
from ptspec.diagnostics import InputError
from ptspec.launched import LAUNCHERS, launched
from ptspec.model import device
from ptspec.recipe.resolve import load_plan
from ptspec.run.one_process import every_gpu, prepare_process, use_one_gpu
from ptspec.run.ranks import announce

VARIABLES = (*accelerator.VISIBLE, *(name for row in LAUNCHERS for name in row[1:]))


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what a test sets is unset after it
        monkeypatch.delenv(name)
    monkeypatch.setattr(accelerator, "DEVICES", tmp_path / "dev")
    monkeypatch.setattr(accelerator, "AMD_NODES", tmp_path / "nodes")
    monkeypatch.setattr(accelerator, "_kept", None)


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
    assert {name: os.environ[name] for name in accelerator.VISIBLE if name in os.environ} == kept
    assert told == use_one_gpu()
    assert told is None if count < 2 else told.startswith(f"{count} GPUs are visible: one is used (cuda:0)")


@pytest.mark.parametrize(
    ("given", "local", "kept"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, 1, {"CUDA_VISIBLE_DEVICES": "3"}),
        ({"CUDA_VISIBLE_DEVICES": "5"}, 1, {"CUDA_VISIBLE_DEVICES": "5"}),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, {"CUDA_VISIBLE_DEVICES": ""}),
        ({}, 3, {"CUDA_VISIBLE_DEVICES": "3"}),
    ],
)
def test_each_process_of_a_node_takes_a_gpu_of_its_own(monkeypatch, given, local, kept):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    use_one_gpu(local)
    assert {name: os.environ[name] for name in accelerator.VISIBLE if name in os.environ} == kept
    unset = dict.fromkeys(accelerator.VISIBLE)
    assert every_gpu() == {**unset, **given}, "what processes that are started from here see"


def test_a_run_that_has_taken_one_gpu_still_counts_those_that_it_was_given(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,5,7")
    use_one_gpu()
    change = {"compute": {"launcher": "accelerate"}}
    assert load_plan(write_recipe(tmp_path, lambda recipe: recipe.update(change))).compute.processes == 4


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


def test_a_process_in_which_it_is_too_late_to_hide_gpus_is_reported(monkeypatch):
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


ONE = "error[several-processes]: torchrun or accelerate launch started 2 processes of this command"
NOWHERE = "error[no-rendezvous]: torchrun or accelerate launch started 2 processes and does not say where"


@pytest.mark.parametrize(
    ("command", "told"),
    [(["run"], NOWHERE), (["eval", "--data", "data/eval.jsonl"], ONE), (["chat"], ONE)],
    ids=["run", "eval", "chat"],
)
def test_of_several_processes_the_first_tells_it_and_none_begins(tmp_path, command, told):
    recipe = write_recipe(tmp_path)
    typed = [*command[:1], recipe if command == ["run"] else ROOT / "data/base_model", *command[1:]]
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
    assert told in first
    assert (out, silent, second) == ("", "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


def test_a_worker_that_a_launcher_started_without_pt_run_tells_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ptspec.worker", str(tmp_path / "job.json")],
        env={**os.environ, "WORLD_SIZE": "2", "RANK": "0"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.returncode, "several-processes" in done.stdout) == (2, True)


def test_a_process_that_will_hold_tensors_looks_for_garbage_as_often_as_any(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    before = gc.get_threshold()
    gc.set_threshold(cli.NEW_OBJECTS)
    try:
        prepare_process()
        assert gc.get_threshold() == (700, 10, 10)
    finally:
        gc.set_threshold(*before)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"SLURM_PROCID": "3", "SLURM_LOCALID": "1"},
            {"RANK": "3", "LOCAL_RANK": "1", "MASTER_PORT": "20007"},
        ),
        ({"MASTER_PORT": "4000"}, {"RANK": "0", "MASTER_PORT": "4000"}),
    ],
)
def test_what_slurm_tells_is_what_torch_reads(monkeypatch, given, expected):
    slurm = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "40007", "SLURM_STEP_ID": "0"}
    monkeypatch.setattr(os, "environ", {**slurm, "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7", **given})
    rank = launched()
    assert rank is not None
    announce(rank)
    wanted = {"WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.7", **expected}
    assert {name: os.environ[name] for name in wanted} == wanted
