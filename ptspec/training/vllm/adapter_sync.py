"""Load the policy's adapter onto a generation server, through a folder that the server sees."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ptspec.generation_server.client import GenerationServer
from ptspec.generation_server.requests import ServerError
from ptspec.processes import current

Write = Callable[[Path], None]
"""Writes an adapter, in PEFT's format, into an existing folder."""


class ServedAdapter:
    """A name on the server whose adapter is replaced. Rank 0 writes and loads; all wait for it.

    Each adapter is in a new folder: vLLM's prefix cache is keyed by the adapter's name and folder, and would
    reuse keys and values of the one before. The old folder is then removed.
    """

    def __init__(self, server: GenerationServer, name: str, folder: Path) -> None:
        """Set up; `folder` has the same path on the server, and `name` is used by no other run."""
        self.name = name
        self._run = uuid.uuid4().hex[:8]
        self._server = server
        self._folder = folder
        self._number = 0

    def replace(self, write: Write) -> None:
        """Serve the adapter that `write` writes.

        Raises `ServerError` in every process if the server refuses it.
        """
        self._number += 1
        current().by_first(lambda: self._replace(write))

    def remove(self) -> None:
        """Stop serving it; ignore a server that is gone."""
        if current().is_first:
            with suppress(ServerError):
                self._server.unload_adapter(self.name, retries=0)
            shutil.rmtree(self._at(self._number), ignore_errors=True)

    def _replace(self, write: Write) -> None:
        now = self._at(self._number)
        now.mkdir(parents=True)
        write(now)
        self._server.load_adapter(self.name, now)
        shutil.rmtree(self._at(self._number - 1), ignore_errors=True)

    def _at(self, number: int) -> Path:
        return self._folder / f"{self._run}.{number}"
