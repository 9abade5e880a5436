"""`manifest.json`: the recipe of a run, its inputs and environment, and its outputs."""

from __future__ import annotations

import platform
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ptspec import __version__
from ptspec.data.tokens.template import read_tokenizer
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.hub.cache import snapshot
from ptspec.recipe.document import read_document
from ptspec.recipe.plan import ModelSpec, Plan
from ptspec.recipe.schema import check
from ptspec.secrets import redacted_source
from ptspec.store.content_hashes import Hashes, digest, hub_commit
from ptspec.store.files import read_json, write_json
from ptspec.store.fingerprint import versions
from ptspec.store.input_hashes import data_commits, named_files, named_models
from ptspec.store.run_names import MANIFEST as MANIFEST
from ptspec.store.run_names import no_such_run, those_in
from ptspec.store.stage_folder import FORMAT

_OF_OTHER_VERSIONS = ("unknown-key", "owned-key", "not-one-of")
"""Errors ignored in a stored recipe: fields come and go with versions of TRL and PEFT."""

_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def is_folder(name: object) -> bool:
    """Return whether `name` can be a stage's folder, directly inside the run's."""
    return isinstance(name, str) and _FOLDER.fullmatch(name) is not None


def now() -> str:
    """Return the UTC time, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class KeptFolder:
    """A folder of the run as it was written.

    Its `fingerprint` (None: the base's evaluation), the hash of its deciding files, and that of every file;
    `files` is None in older manifests.
    """

    fingerprint: str | None
    sha256: str | None
    files: Mapping[str, str] | None


@dataclass(frozen=True)
class Manifest:
    """A run's manifest, read back.

    `data`, `files`, `models`: hashes of what the recipe names; `folders`: what the run wrote.
    """

    file: Path
    written: str
    recipe_file: Path
    working_directory: Path
    recipe: Mapping[str, Any]
    model: str
    revision: str | None
    model_sha256: str
    data: Mapping[str, Any]
    files: Mapping[str, str]
    models: Mapping[str, str]
    folders: Mapping[str, KeptFolder]
    versions: Mapping[str, str]
    environment: Mapping[str, str]

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.file.parent


def write_manifest(
    plan: Plan,
    hashes: Hashes,
    device: str,
    stages: Mapping[str, Mapping[str, Any]],
    base: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> None:
    """Write the manifest of `plan`.

    `command` is the command line; its relative paths refer to the working directory, which is stored too.
    """
    write_json(
        plan.output / MANIFEST,
        {
            "format": FORMAT,
            "ptspec": __version__,
            "name": plan.name,
            "written": now(),
            "recipe_file": str(plan.recipe),
            "command": None if command is None else redacted_source(command),
            "working_directory": str(Path.cwd()),
            "recipe": plan.document,
            "seed": plan.seed,
            "model": {
                "path": plan.model.path,
                "revision": hub_commit(plan.model),
                "sha256": hashes.model(),
                "chat_template_sha256": _template_hash(plan.model),
            },
            "data": {name: hashes.source(name) for name in plan.data},
            "data_commits": data_commits(plan),
            "files": named_files(plan, hashes),
            "models": named_models(plan, hashes),
            "base": base,
            "stages": stages,
            "versions": versions(),
            "environment": environment(device),
        },
    )


def _template_hash(spec: ModelSpec) -> str | None:
    """Return the hash of the chat template in use; None if there is none."""
    folder = spec.folder or snapshot(spec.path, spec.revision)
    files = read_tokenizer(folder, spec.chat_template) if folder is not None else None
    template = spec.chat_template if files is None else files.template
    return None if template is None else digest(template)


def environment(device: str) -> dict[str, str]:
    """Return the host, Python, platform and library versions, and `device`."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "device": device,
    }


def read_manifest(run: Path) -> dict[str, Any]:
    """Return the raw manifest of the run in `run`.

    Raises `InputError` if there is no run, or its manifest is damaged or of another version.
    """
    file = run / MANIFEST
    if not run.is_dir():
        raise InputError(no_such_run(str(run)))
    if not file.is_file():
        hint = those_in(run) or "give the folder of a run: outputs/NAME"
        message = f"{run} is not a run: there is no {MANIFEST} in it"
        raise InputError(Diagnostic("not-a-run", message, Location(str(run)), hint=hint))
    value = read_json(file)
    if (found := value.get("format")) != FORMAT:
        message = f"a run's manifest of format {found!r}; this program knows {FORMAT}"
        raise InputError(Diagnostic("damaged-file", message, Location(str(file)), hint=_other_version(found)))
    return value


def _other_version(found: Any) -> str:
    if isinstance(found, int) and found > FORMAT:
        return "upgrade: pip install -U ptspec"
    return "run the recipe again: pt run RECIPE"


def hub_datasets(run: Path) -> tuple[str, ...]:
    """Return the hub repositories of a run's data. Raises `InputError` as `read_manifest` does."""
    manifest = read_manifest(run)
    sources = (manifest.get("recipe") or {}).get("data") or {}
    named = [sources.get(name) for name in manifest.get("data_commits") or ()]
    paths = [source.get("path") if isinstance(source, dict) else source for source in named]
    return tuple(dict.fromkeys(path for path in paths if isinstance(path, str)))


def open_manifest(run: Path) -> Manifest:
    """Return the typed manifest, with a recipe that can be read.

    Raises `InputError` as `read_manifest` does, and if parts are missing.
    """
    manifest = peek_manifest(run)
    document = read_document(manifest.file).within("/recipe")
    faults = [fault for fault in check(document) if fault.code not in _OF_OTHER_VERSIONS]
    if faults:
        message = f"the recipe in this manifest is damaged: {faults[0].message}"
        raise InputError(replace(faults[0], code="damaged-file", message=message, hint=None))
    return manifest


def peek_manifest(run: Path) -> Manifest:
    """Like `open_manifest`, without reading the recipe. Raises `InputError`."""
    value = read_manifest(run)
    try:
        return _manifest(run / MANIFEST, value)
    except (KeyError, TypeError, ValueError) as error:
        what = f": {error}" if isinstance(error, TypeError | KeyError) else ""
        message = f"this manifest lacks what a run's manifest holds{what}"
        raise InputError(Diagnostic("damaged-file", message, Location(str(run / MANIFEST)))) from None


def _manifest(file: Path, value: Mapping[str, Any]) -> Manifest:
    model, recipe = _object(value["model"], "model"), _object(value["recipe"], "recipe")
    folders = {"base": _folder(value["base"], "base")} if value.get("base") else {}
    for name, kept in _object(value["stages"], "stages").items():
        if not is_folder(name):
            raise TypeError(f"stages has a name that is not a folder's: {name!r}")
        folders[name] = _folder(kept, name)
    return Manifest(
        file,
        _text(value["written"], "written"),
        Path(_text(value["recipe_file"], "recipe_file")),
        Path(_text(value.get("working_directory") or str(Path.cwd()), "working_directory")),
        recipe,
        _text(model["path"], "model/path"),
        None if model.get("revision") is None else _text(model["revision"], "model/revision"),
        _text(model["sha256"], "model/sha256"),
        _object(value["data"], "data"),
        _texts(value.get("files") or {}, "files"),
        _texts(value.get("models") or {}, "models"),
        folders,
        {"ptspec": _text(value["ptspec"], "ptspec"), **_texts(value["versions"], "versions")},
        _texts(value["environment"], "environment"),
    )


def _folder(value: Any, name: str) -> KeptFolder:
    kept = _object(value, name)
    files = kept.get("files")
    words = [None if kept.get(key) is None else _text(kept[key], key) for key in ("fingerprint", "sha256")]
    return KeptFolder(words[0], words[1], None if files is None else _texts(files, "files"))


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is no object")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{name} is no text")
    return value


def _texts(value: Any, name: str) -> dict[str, str]:
    return {key: _text(item, f"{name}/{key}") for key, item in _object(value, name).items()}
