"""A policy, as an adapter, onto a generation server: written to a folder that the server sees, and loaded."""

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
"""Writes an adapter, in PEFT's format, into a folder that exists."""


class ServedAdapter:
    """One name on the server whose adapter is replaced. The first process writes and loads; all wait for it.

    Each adapter lies in a new folder: vLLM keeps what it has computed of a prompt by name and folder of the
    adapter, and would go on with keys and values of the one before. The folder before is then removed.
    """

    def __init__(self, server: GenerationServer, name: str, folder: Path) -> None:
        """`folder` is one that the server sees at the same path; `name` one that no other run has."""
        self.name = name
        self._run = uuid.uuid4().hex[:8]
        self._server = server
        self._folder = folder
        self._number = 0

    def replace(self, write: Write) -> None:
        """Serves what `write` writes.

        Raises `ServerError` in every process where the server does not take it."""
        self._number += 1
        current().by_first(lambda: self._replace(write))

    def remove(self) -> None:
        """Serves it no longer; a server that is gone serves nothing."""
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
