"""Hashes of a run's outputs, computed per folder when written and never again.

A rewritten manifest keeps the entries of untouched folders, so that running the recipe again does not cover
up later damage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptspec.diagnostics import InputError
from ptspec.recipe.plan import BASE
from ptspec.store.content_hashes import hash_folder
from ptspec.store.file_hashes import known_hash
from ptspec.store.manifest import KeptFolder, peek_manifest
from ptspec.store.stage_folder import AGGREGATES, finished_record

CHANGED = "its files have changed since they were saved"


def _kept_folders(output: Path) -> Mapping[str, KeptFolder]:
    """Return the folder entries of the manifest in `output`; empty if it cannot be read."""
    try:
        return peek_manifest(output).folders
    except InputError:
        return {}


def files_in(folder: Path, hash_of: Callable[[Path], str] = known_hash) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder` by relative path; a link's target for a link.

    `hash_of` hashes one file.
    """
    return {
        path.relative_to(folder).as_posix(): f"link to {path.readlink()}"
        if path.is_symlink()
        else hash_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


class OutputHashes:
    """The manifest's folder entries of the run in `output`."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._kept = dict(_kept_folders(output))

    def is_as_saved(self, stage: str) -> bool:
        """Return whether the finished `stage` computes what was saved, as far as the manifest tells.

        A stage that is missing there, or has another fingerprint, was finished after the manifest was
        written.
        """
        told = self._kept.get(stage)
        record = finished_record(self._output, stage) or {}
        if told is None or told.sha256 is None or told.fingerprint != record.get("fingerprint"):
            return True
        return told.sha256 == hash_folder(self._output / stage)

    def saved(self, stage: str) -> str | None:
        """Return the hash of the model or adapter saved as `stage`, if the manifest has it."""
        kept = self._kept.get(stage)
        return kept.sha256 if kept is not None else None

    def written(self, name: str) -> None:
        """Record that the folder `name` was just written."""
        self._kept.pop(name, None)

    def base(self) -> dict[str, Any] | None:
        """Return the entry of the base's evaluation; None if it is missing or incomplete."""
        folder = self._output / BASE
        if not (folder / AGGREGATES).is_file():
            return None
        kept = self._kept.get(BASE)
        if kept is None or kept.files is None:
            kept = self._kept[BASE] = KeptFolder(None, None, files_in(folder))
        return {"files": kept.files}

    def stage(self, name: str, fingerprint: str | None) -> dict[str, Any]:
        """Return the entry of a finished stage; the earlier one if its fingerprint is the same."""
        folder, kept = self._output / name, self._kept.get(name)
        if kept is None or kept.files is None or kept.fingerprint != fingerprint:
            kept = self._kept[name] = KeptFolder(fingerprint, hash_folder(folder), files_in(folder))
        return {"fingerprint": kept.fingerprint, "sha256": kept.sha256, "files": kept.files}
