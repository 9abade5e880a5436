"""What ends a run from outside, with the real thing in a process of its own: it saves, exits with 130, says
how to go on, and ends with the bytes of an undisturbed run."""

import contextlib
import os
import pty
import signal

import pytest
from small import (
    one_stage,
    run_here,
    start_run,
    undisturbed_weights,
    wait_until_it_trains,
    write_recipe,
)

pytestmark = pytest.mark.slow


def sft_alone(recipe):
    """Long enough to be hit; nothing is saved but for a signal."""
    one_stage(recipe, max_steps=60, save_steps=1000, per_device_train_batch_size=4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, sft_alone)


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path, sft_alone)


def goes_on(folder, undisturbed):
    assert list((folder / "out" / ".sft.partial" / "checkpoints").glob("checkpoint-*"))
    assert run_here(folder / "recipe.json", folder / "out").weights == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_saves_and_tells_how_to_go_on(recipe, undisturbed, tmp_path, number):
    process = start_run(recipe, tmp_path / "out")
    wait_until_it_trains(tmp_path / "out", "sft", process)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    *_, last, again = told.splitlines()
    assert last.startswith(f"interrupted: {number.name} was received: sft is saved up to step ")
    assert again == f"     pt run {recipe} --output {tmp_path / 'out'}"
    assert "error" not in told
    goes_on(tmp_path, undisturbed)


def test_a_terminal_that_hangs_up(recipe, undisturbed, tmp_path):
    """As a dropped ssh connection does: the kernel sends SIGHUP, and nothing can be written any more."""
    terminal, its_end = pty.openpty()
    process = start_run(recipe, tmp_path / "out", streams=[its_end] * 3)
    os.close(its_end)
    os.set_blocking(terminal, False)

    def read():
        with contextlib.suppress(BlockingIOError, OSError):  # the other end may not be open yet
            os.read(terminal, 1 << 16)

    wait_until_it_trains(tmp_path / "out", "sft", process, read)
    os.close(terminal)
    assert process.wait(120) == 130, (tmp_path / "out" / "run.log").read_text()
    goes_on(tmp_path, undisturbed)


def test_nohup_is_heeded(recipe, undisturbed, tmp_path):
    process = start_run(recipe, tmp_path / "out", ignores=[signal.SIGHUP])
    wait_until_it_trains(tmp_path / "out", "sft", process)
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert (tmp_path / "out" / "sft" / "adapter_model.safetensors").read_bytes() == undisturbed["sft"]
