"""Redirect the output of other libraries from the screen to a log file."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from ptspec.secrets import redacted

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def quiet_environment() -> None:
    """Disable Hugging Face telemetry and progress bars unless the user has set them. Call before imports.

    Log records are discarded while no log file is open; Python would print them.
    """
    logging.getLogger("ptspec").addHandler(logging.NullHandler())
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


class _LogStream(io.TextIOBase):
    """A text stream that writes its lines to a logger."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._logger.info(line.rstrip())
        return len(text)


class _LogFile(logging.FileHandler):
    """A file handler that drops records it cannot write (disk full, folder removed).

    An error of the run's own files ends the run and is reported; an error of the log does not.
    """

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


class _RedactingFormatter(logging.Formatter):
    """Redact secrets from records: libraries and user functions may print what they were given."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


@contextlib.contextmanager
def into_log(path: Path) -> Iterator[None]:
    """Write warnings, log records and prints to `path` within the context.

    The screen must keep its own stream, taken before.
    """
    root = logging.getLogger()
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(_RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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
    """Remove the stderr handlers of libraries and propagate their records to the root logger."""
    saved = []
    for name in ("transformers", "datasets", "trl", "peft", "accelerate", "huggingface_hub", "bitsandbytes"):
        logger = logging.getLogger(name)
        saved.append((logger, logger.handlers[:], logger.propagate))
        logger.handlers[:] = []
        logger.propagate = True
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    return saved
