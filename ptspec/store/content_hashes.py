"""Content hashes of a run's models and sources, the ingredients of fingerprints. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.data.readers.remote import files_at, stamp_of
from ptspec.diagnostics import Diagnostic, StageError
from ptspec.hub.arrow_cache import cached_commit
from ptspec.hub.cache import commit
from ptspec.recipe.paths import is_file, is_folder
from ptspec.recipe.plan import ModelSpec, Plan
from ptspec.recipe.second_models import folder_of
from ptspec.recipe.sources import AnySource, Concat, Mix, Source
from ptspec.store.file_hashes import known_content, known_hash

STREAM = 1
"""Version of the row order of streams; increased when ptspec changes it."""

DECIDING = (
    *("*.safetensors", "config.json", "generation_config.json", "adapter_config.json", "*.py"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "additional_chat_templates/*.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json", "*.model"),
    *("tekken.json", "*.tiktoken"),
)
"""Files of a model or adapter folder that decide what it computes and generates: weights, configs, the
model's own code, the tokenizer in each of its forms."""


@dataclass(frozen=True)
class Hashed:
    """The hashes of a run's base model and sources, to pass to another process."""

    model: str | None
    model_files: tuple[Any, ...]
    sources: Mapping[str, Any]


class Hashes:
    """Content hashes of models and sources, each computed once per run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._model: str | None = None
        self._model_files: list[Any] = []
        self._sources: dict[str, Any] = {}
        self._folders: dict[Path, str] = {}
        self._lies: dict[str, Path] = {}

    def lies(self, stage: str, folder: Path) -> None:
        """Record that `stage` will be copied from `folder`, which lies in another run."""
        self._lies[stage] = folder

    def adopt(self, before: Hashed) -> None:
        """Take over what another process of the run has hashed."""
        if self._model is None and before.model is not None:
            self._model, self._model_files = before.model, list(before.model_files)
        self._sources = {**before.sources, **self._sources}

    def model(self) -> str:
        """Return the SHA-256 of the base model (`hash_model`), computed at the first call."""
        if self._model is None:
            self._model_files = _stamps(self._plan.model)
            self._model = hash_model(self._plan.model)
        return self._model

    def hashed(self) -> Hashed:
        """Return the hashes computed so far."""
        return Hashed(self._model, tuple(self._model_files), dict(self._sources))

    def source(self, name: str) -> Any:
        """Return the hash of the source called `name`, or of each part of a mix with its options."""
        if name not in self._sources:
            self._sources[name] = self._hash_source(self._plan.data[name])
        return self._sources[name]

    def must_be_unchanged(self, name: str) -> None:
        """Raise `StageError` if a source has changed since it was hashed.

        Called after its rows were read, so that the rows are those of the fingerprint.
        """
        source = self._plan.data[name]
        if self._hash_source(source) != self._sources.get(name):
            raise StageError(_changed_data(source))

    def model_must_be_unchanged(self) -> None:
        """Raise `StageError` if a file of the base model was written to since it was hashed.

        Compares size and modification time: hashing again may take minutes.
        """
        if self._model is not None and _stamps(self._plan.model) != self._model_files:
            raise StageError(
                Diagnostic(
                    "model-changed",
                    f"the base model in {self._plan.model.path} changed after this run had begun",
                    pointer="/model",
                    hint="start the same command again when the model is as it should be",
                )
            )

    def file(self, name: str) -> str:
        """Return the hash of a file that the recipe names."""
        found = self._plan.places.find(name)
        return known_hash(found) if found is not None and is_file(found) else "missing"

    def folder(self, folder: Path) -> str:
        """Return the hash of the model or adapter in `folder`.

        Not cached for a folder that this run may write.
        """
        if folder.resolve().is_relative_to(self._plan.output.resolve()):
            return hash_folder(folder)
        if folder not in self._folders:
            self._folders[folder] = hash_folder(folder)
        return self._folders[folder]

    def second_model(self, model: str) -> str:
        """Return the hash of a reward model or teacher: a stage, a folder, or a hub id with its commit."""
        folder = self._lies.get(model) or folder_of(self._plan, model)
        return self.folder(folder) if folder is not None and is_folder(folder) else model

    def _hash_source(self, source: AnySource) -> Any:
        if isinstance(source, Concat):
            parts = self._plan.data
            joined = source.fractions.items()
            return ["concat", *([self._hash_source(parts[part]), fraction] for part, fraction in joined)]
        if isinstance(source, Mix):
            parts = self._plan.data
            drawn = [[self._hash_source(parts[part]), weight] for part, weight in source.weights.items()]
            return [source.until.value, *drawn]
        options = {
            "columns": dict(source.columns),
            "limit": source.limit,
            "shuffle": source.shuffle,
            "chat": source.chat,
            "split": source.split,
            "system": source.system,
            "on_bad_row": source.on_bad_row.value,
        }
        if source.streaming:
            options["streaming"] = STREAM
        return [_contents(source), options]


def _contents(source: Source) -> Any:
    """Return what identifies a source's contents: a hash, or the commit of a hub dataset.

    Hashing a stream would read it all: name, size and modification time of each of its files are used
    instead.
    """
    if source.hub is not None:
        return [source.hub, source.config_name, data_commit(source)]
    files = [[file.name, *stamp_of(source, file)] for file in files_at(source)]
    if not source.streaming:
        return [known_content(source.paths), *files] if files else known_content(source.paths)
    stats = [(file, file.stat()) for file in source.paths]
    return [*([file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats), *files]


def _changed_data(source: AnySource) -> Diagnostic:
    return Diagnostic(
        "data-changed",
        f'the data "{source.name}" changed after this run had begun',
        pointer=source.at,
        hint="start the same command again when the data is as it should be",
        notes=("finished stages are kept; those that used this data are then trained again",),
    )


def hash_model(spec: ModelSpec) -> str:
    """Return the SHA-256 of a model folder's deciding files; of a hub id and its commit for a hub model."""
    if not spec.local:
        return digest([spec.path, hub_commit(spec)])
    return hash_folder(Path(spec.path))


def hub_commit(spec: ModelSpec) -> str | None:
    """Return the commit of a hub model that has been loaded; else its revision in the recipe."""
    return None if spec.local else commit(spec.path, spec.revision) or spec.revision


def data_commit(source: Source) -> str | None:
    """Return the cached commit of a hub dataset, or the recipe's revision if it gives one."""
    return source.revision or cached_commit(source.hub or "")


def hash_folder(folder: Path, hash_of: Callable[[Path], str] = known_hash) -> str:
    """Return the SHA-256 of the deciding files of a model or adapter folder; `hash_of` hashes one file."""
    return digest([[file.relative_to(folder).as_posix(), hash_of(file)] for file in deciding_files(folder)])


def deciding_files(folder: Path) -> list[Path]:
    """Return the files of a model or adapter folder that decide what it computes, in order."""
    files = {file for pattern in DECIDING for file in folder.glob(pattern)}
    return sorted(file for file in files if file.is_file())


def _stamps(spec: ModelSpec) -> list[Any]:
    """Return name, size and modification time of each file of a local model."""
    files = [(str(file), file.stat()) for file in deciding_files(Path(spec.path))] if spec.local else []
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
