"""Keeps what other libraries print away from the screen and in a log file."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from ptspec.secrets import blotted

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def quiet_environment() -> None:
    """The program calls nobody and draws no bars of others, unless the user has set these. Before imports.

    What is logged while there is no log goes nowhere: Python would print it.
    """
    logging.getLogger("ptspec").addHandler(logging.NullHandler())
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


class _LogStream(io.TextIOBase):
    """A text stream whose lines end up in a logger."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._logger.info(line.rstrip())
        return len(text)


class _LogFile(logging.FileHandler):
    """Loses a line that cannot be written (the disk is full, the folder is gone), and says nothing of it:
    whatever the run itself cannot write ends it, and is told."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _Blotting(logging.Formatter):
    """Libraries, and functions of the user's, may print what they were given."""

    def format(self, record: logging.LogRecord) -> str:
        return blotted(super().format(record))


@contextlib.contextmanager
def into_log(path: Path) -> Iterator[None]:
    """Warnings, log records and prints go to `path` while this lasts.

    Whoever draws the screen must hold its own stream from before."""
    root = logging.getLogger()
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(_Blotting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    library_handlers = _redirect_libraries()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(_LogStream("stdout")),
            contextlib.redirect_stderr(_LogStream("stderr")),
        ):
            warnings.simplefilter("default")
            yield
    finally:
        for logger, handlers, propagate in library_handlers:
            logger.handlers[:], logger.propagate = handlers, propagate
        logging.captureWarnings(False)
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        handler.close()


def _redirect_libraries() -> list[tuple[logging.Logger, list[logging.Handler], bool]]:
    """Libraries with handlers of their own on stderr: those are taken off, their records go to the root."""
    saved = []
    for name in ("transformers", "datasets", "trl", "peft", "accelerate", "huggingface_hub", "bitsandbytes"):
        logger = logging.getLogger(name)
        saved.append((logger, logger.handlers[:], logger.propagate))
        logger.handlers[:] = []
        logger.propagate = True
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    return saved
