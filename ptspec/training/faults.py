"""Recognise machine errors in the libraries' exceptions: memory, disk, folders. Imports no torch."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from enum import Enum

from ptspec.diagnostics import Diagnostic, StageError, first_line
from ptspec.recipe.hints import bytes_in_words


class MachineError(Enum):
    """Kinds of machine error."""

    MEMORY = "out-of-memory"
    DISK = "disk-full"
    FOLDER = "not-writable"


class OutOfMemory(StageError):
    """A stage ran out of memory; saved progress is kept."""


HOST_MEMORY = ("defaultcpuallocator", "cannot allocate memory", "can't start new thread", "bad_alloc")
DEVICE_MEMORY = ("out of memory", "cublas_status_alloc_failed")
DISK_FULL = ("no space left on device", "disk quota exceeded", "file write failed", "inline_container")
"""In lower case. The last two are torch.save's messages for a short write."""
FOLDER_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ESTALE)


def machine_error_of(error: BaseException) -> MachineError | None:
    """Return the machine error that `error` or its cause is; None for anything else."""
    for one in _chain(error):
        text = str(one).lower()
        if isinstance(one, MemoryError) or type(one).__name__ == "OutOfMemoryError":
            return MachineError.MEMORY
        if isinstance(one, OSError):
            if one.errno in (errno.ENOSPC, errno.EDQUOT):
                return MachineError.DISK
            if one.errno == errno.ENOMEM:
                return MachineError.MEMORY
            if one.errno in FOLDER_ERRORS and one.filename is not None:
                return MachineError.FOLDER
        if any(words in text for words in DISK_FULL):
            return MachineError.DISK
        if isinstance(one, RuntimeError | OSError) and any(
            words in text for words in (*HOST_MEMORY, *DEVICE_MEMORY)
        ):
            return MachineError.MEMORY
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def diagnosed(error: BaseException, pointer: str | None = None) -> Diagnostic:
    """Return the diagnostic of `error`: the lacking resource, or the library's own message."""
    said = first_line(error)
    match machine_error_of(error):
        case MachineError.MEMORY:
            return Diagnostic("out-of-memory", _short_of_memory(error), None, pointer)
        case MachineError.DISK:
            hint = "make room, then the same command resumes the run"
            return Diagnostic("disk-full", f"the disk is full: {said}", None, pointer, hint)
        case MachineError.FOLDER:
            hint = "see to the folder, then the same command resumes the run"
            return Diagnostic("not-writable", f"a file or folder cannot be used: {said}", None, pointer, hint)
    return Diagnostic("stage-failed", f"{type(error).__name__}: {said}", None, pointer)


def failure(error: Exception, pointer: str, notes: tuple[str, ...]) -> StageError:
    """Return the `StageError` that ends a stage because of `error`."""
    told = diagnosed(error, pointer)
    kind = OutOfMemory if told.code == MachineError.MEMORY.value else StageError
    return kind(Diagnostic(told.code, told.message, None, told.pointer, told.hint, (*told.notes, *notes)))


def _short_of_memory(error: BaseException) -> str:
    """Return which memory ran out, and the requested size if torch reports it."""
    for one in _chain(error):
        if on_host := re.search(r"tried to allocate (\d+) bytes", str(one)):
            asked = bytes_in_words(int(on_host[1]))
            return f"out of memory: the host has not the {asked} more that were asked for"
        if on_device := re.search(r"Tried to allocate ([\d.]+ \w+)", str(one)):
            return f"out of memory: the device has not the {on_device[1]} more that were asked for"
    return f"out of memory: {first_line(error)}"
