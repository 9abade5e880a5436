"""What ends a run from outside, with the real thing in a process of its own: it saves, exits with 130, says
how to go on, and ends with the bytes of an undisturbed run."""

import contextlib
import os
import pty
import signal
import subprocess
import time

import pytest
from small import ROOT, environment, one_stage, pt_command, run_here, undisturbed_weights, write_recipe

pytestmark = pytest.mark.slow


def sft_alone(recipe):
    """Long enough to be hit; nothing is saved but for a signal."""
    one_stage(recipe, max_steps=120, save_steps=1000)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, sft_alone)


@pytest.fixture
def command(tmp_path):
    recipe = write_recipe(tmp_path, sft_alone)
    return pt_command("run", recipe, "--output", tmp_path / "out")


def is_training(folder):
    return (folder / "out" / ".sft.partial" / "metrics.jsonl").exists()


def wait_until_it_trains(folder, is_running):
    limit = time.monotonic() + 120
    while not is_training(folder):
        assert is_running() and time.monotonic() < limit
        time.sleep(0.01)


def goes_on(folder, undisturbed):
    assert list((folder / "out" / ".sft.partial" / "checkpoints").glob("checkpoint-*"))
    assert run_here(folder / "recipe.json", folder / "out").weights == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_saves_and_tells_how_to_go_on(command, undisturbed, tmp_path, number):
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    wait_until_it_trains(tmp_path, lambda: process.poll() is None)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    *_, last, again = told.splitlines()
    assert last.startswith(f"interrupted: {number.name} was received: sft is saved up to step ")
    assert again == f"     pt run {command[4]} --output {command[6]}"
    assert "error" not in told
    goes_on(tmp_path, undisturbed)


def test_a_terminal_that_hangs_up(command, undisturbed, tmp_path):
    """As a dropped ssh connection does: the kernel sends SIGHUP, and nothing can be written any more."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(command[0], command, environment())
    os.set_blocking(terminal, False)

    def is_running():
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 1 << 16)
        return os.waitpid(pid, os.WNOHANG) == (0, 0)

    wait_until_it_trains(tmp_path, is_running)
    os.close(terminal)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)  # a shell sends its own
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130, (tmp_path / "out" / "run.log").read_text()
    goes_on(tmp_path, undisturbed)


def test_nohup_is_heeded(command, undisturbed, tmp_path):
    process = subprocess.Popen(
        ["nohup", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    wait_until_it_trains(tmp_path, lambda: process.poll() is None)
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert (tmp_path / "out" / "sft" / "adapter_model.safetensors").read_bytes() == undisturbed["sft"]
