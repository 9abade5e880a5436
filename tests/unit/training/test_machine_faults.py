"""What torch and Python say when the machine has too little, told apart. (A GPU's allocator cannot be made to
fail without one: its error is the real class with the text that torch 2.13 gives it.)"""

import errno

import pytest
import torch

from ptspec.diagnostics import first_line
from ptspec.training.batch_halving import halved
from ptspec.training.faults import OutOfMemory, diagnosed, failure

ON_A_GPU = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1 GiB "
    "is free."
)


def host_error():
    """What torch's own allocator says when it is asked for more than any machine has."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 60)
    return error.value


def caused_by(error, outer):
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (torch.OutOfMemoryError(ON_A_GPU), "out-of-memory", "the device has not the 2.00 GiB more"),
        (MemoryError(), "out-of-memory", "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory", "Cannot allocate memory"),
        (RuntimeError("can't start new thread"), "out-of-memory", "can't start new thread"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full", "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk-full", "Disk quota exceeded"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), "not-writable", "'/x/y'"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "not-writable", "'/x/y'"),
        (caused_by(OSError(errno.ENOSPC, "No space left"), ValueError("bad")), "disk-full", "bad"),
        (ValueError("first line\nsecond"), "stage-failed", "ValueError: first line"),
        (KeyError("rejected"), "stage-failed", "KeyError: 'rejected'"),
    ],
)
def test_machine_errors_are_distinguished(error, code, words):
    told = diagnosed(error, "/stages/0")
    assert (told.code, told.pointer) == (code, "/stages/0")
    assert words in told.message and "second" not in told.message


def test_the_host_s_allocator_is_understood():
    told = diagnosed(host_error())
    assert told.code == "out-of-memory" and "the host has not the" in told.message


def test_a_failure_says_what_was_kept():
    error = failure(torch.OutOfMemoryError(ON_A_GPU), "/stages/1", ("dpo is saved up to step 3",))
    assert isinstance(error, OutOfMemory)
    assert error.diagnostics[0].notes == ("dpo is saved up to step 3",)


def test_rows_a_pass_are_halved_and_the_effective_batch_stays():
    defaults = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    assert halved({}, defaults, 0) == defaults
    assert halved({}, defaults, 3) == {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    assert halved({}, defaults, 4) is None
    config = {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 5, "steps_per_generation": 2}
    assert halved(config, defaults, 1) == {
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 10,
        "steps_per_generation": 4,
    }
    assert halved(config, defaults, 2) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError("\n no such file \nmore"), "no such file"), (ImportError(), "ImportError")],
    ids=["several lines", "no words"],
)
def test_the_words_of_an_error(error, words):
    assert first_line(error) == words
