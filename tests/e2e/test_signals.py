"""What ends a run from outside, with the real thing in a process of its own: it saves, exits with 130, says
how to go on, and ends with the bytes of an undisturbed run."""

import contextlib
import os
import pty
import signal

import pytest
from support.small import (
    one_stage,
    run_here,
    start_run,
    undisturbed_weights,
    wait_until_it_trains,
    write_recipe,
)

pytestmark = pytest.mark.slow


def sft_alone(recipe):
    """Long enough to be hit three times; nothing is saved but for a signal."""
    one_stage(recipe, max_steps=60, save_steps=1000, per_device_train_batch_size=4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, sft_alone)


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path, sft_alone)


@contextlib.contextmanager
def on_a_terminal(recipe, output, **options):
    """A run on a terminal of its own, once it trains; the terminal hangs up when this ends, as a dropped ssh
    connection does: the kernel sends SIGHUP, and nothing can be written any more."""
    terminal, its_end = pty.openpty()
    process = start_run(recipe, output, streams=[its_end] * 3, **options)
    os.close(its_end)
    os.set_blocking(terminal, False)

    def read():
        with contextlib.suppress(BlockingIOError, OSError):  # the other end may not be open yet
            os.read(terminal, 1 << 16)

    wait_until_it_trains(output, "sft", process, read)
    yield process
    os.close(terminal)


def test_signals_and_a_terminal_that_hangs_up_save_and_lose_nothing(recipe, undisturbed, tmp_path):
    """Each ends the run that the one before it left; what they leave at last is gone on with."""
    output, saved = tmp_path / "out", [0]

    def is_saved():
        checkpoints = (output / ".sft.partial" / "checkpoints").glob("checkpoint-*")
        saved.append(max(int(folder.name.removeprefix("checkpoint-")) for folder in checkpoints))
        assert saved[-2] < saved[-1]

    for number in (signal.SIGINT, signal.SIGUSR1):
        process = start_run(recipe, output)
        wait_until_it_trains(output, "sft", process)
        process.send_signal(number)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 130, told
        *_, last, again = told.splitlines()
        assert last.startswith(f"interrupted: {number.name} was received: sft is saved up to step ")
        assert again == f"     pt run {recipe} --output {output}"
        assert "error" not in told
        is_saved()
    with on_a_terminal(recipe, output) as process:
        pass
    assert process.wait(120) == 130, (output / "run.log").read_text()
    is_saved()
    assert run_here(recipe, output).weights == undisturbed


def test_nohup_is_heeded(recipe, undisturbed, tmp_path):
    """The terminal hangs up and takes nothing more, and the run ends well."""
    output = tmp_path / "out"
    with on_a_terminal(recipe, output, ignores=[signal.SIGHUP]) as process:
        pass
    assert process.wait(240) == 0, (output / "run.log").read_text()
    assert (output / "sft" / "adapter_model.safetensors").read_bytes() == undisturbed["sft"]
