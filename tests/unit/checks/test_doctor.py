"""`pt doctor` says what is wrong with a machine, and exits with 1 where a run would meet it."""

from __future__ import annotations

import re
import sys
from importlib import invalidate_caches

import pytest
from support.small import ROOT

from ptspec import accelerator
from ptspec.checks import gpu
from ptspec.checks.installation import EXTRAS
from ptspec.commands import doctor as command

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes ptspec look installed with these requirements, in place of those it has."""

    def install(*requirements: str) -> None:
        folder = tmp_path / "ptspec-0.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.4", "Name: ptspec", "Version: 0.0"]
        lines += [f"Requires-Dist: {one}" for one in requirements]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        invalidate_caches()

    return install


def test_what_is_installed_is_in_its_ranges(here, install):
    extras = [
        f'{one} ; extra == "{name}"' for name in EXTRAS for one in PROJECT["optional-dependencies"][name]
    ]
    install(*PROJECT["dependencies"], *extras)
    done = here("doctor")
    assert done.code == 0, done.stderr
    for name in ("torch", "trl", "peft"):
        assert re.search(rf"\b{name} \d", done.stdout), done.stdout
    assert "is not in the range" not in done.stderr


def test_every_extra_says_what_it_is_for():
    assert EXTRAS.keys() == PROJECT["optional-dependencies"].keys() - {"test", "test-extras", "dev", "docs"}


def test_what_is_missing_or_of_another_version(here, install):
    install("torch>=2.6", "trl>=99", "no-such-package>=1", 'also-missing ; extra == "ray"')
    done = here("doctor")
    assert done.code == 1
    assert "error[untested-version]: trl" in done.stderr and "pip install 'trl>=99'" in done.stderr
    assert "error[missing-package]: no-such-package is not installed" in done.stderr
    assert "without also-missing" in done.stdout and 'pip install "ptspec[ray]"' in done.stdout


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with a card of NVIDIA on its bus and these files in /dev."""

    def machine(*devices: str) -> None:
        card, files = tmp_path / "pci" / "0000:01:00.0", tmp_path / "dev"
        card.mkdir(parents=True)
        files.mkdir()
        (card / "vendor").write_text("0x10de\n")
        (card / "class").write_text("0x030200\n")
        for name in devices:
            (files / name).write_text("")
        monkeypatch.setattr(gpu, "PCI", tmp_path / "pci")
        monkeypatch.setattr(gpu, "DEVICES", files)
        monkeypatch.setattr(accelerator, "DEVICES", files)
        monkeypatch.setattr(accelerator, "_kept", None)  # of a run that a test made in this process
        for name in accelerator.VISIBLE:
            monkeypatch.delenv(name, raising=False)

    return machine


def test_a_gpu_without_a_driver(here, machine):
    machine()
    done = here("doctor")
    assert (done.code, "error[gpu-unseen]" in done.stderr, "no driver" in done.stderr) == (1, True, True)


def test_a_gpu_that_the_environment_hides(here, machine, monkeypatch):
    machine("nvidia0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = here("doctor")
    assert (done.code, "CUDA_VISIBLE_DEVICES='' hides it" in done.stderr) == (1, True), done.stderr


def test_a_gpu_that_this_torch_cannot_use(here, machine, monkeypatch):
    machine("nvidia0")
    done = here("doctor")
    import torch

    why = "torch (cuda" if torch.version.cuda else "this torch is built for CPUs"
    assert (done.code, why in done.stderr) == (1, True), done.stderr


def test_where_nothing_else_tells_torch_is_asked(here, machine, monkeypatch):
    machine("nvidia0")
    monkeypatch.setattr(gpu, "_built_for", lambda: "cuda 12.8")
    done = here("doctor")
    assert done.code == 1
    assert "asking torch for the GPU" in done.stderr and "torch (cuda 12.8) says: " in done.stderr


def test_a_full_disk_is_a_warning(here, monkeypatch):
    monkeypatch.setattr(command, "LITTLE", 1e18)
    done = here("doctor")
    assert (done.code, done.stderr.count("warning[disk-low]")) == (0, 2)
    assert "nothing that stops a run" in done.stderr


def test_python_of_this_process(here):
    assert sys.version.split()[0] in here("doctor").stdout
