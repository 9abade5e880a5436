"""`pt verify`: compute a run's hashes again and compare them with its manifest.

Reads every file without caches, and writes nothing to the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.recipe.hints import first_of
from ptspec.recipe.matrix import expanded_stages
from ptspec.recipe.paths import Places
from ptspec.recipe.source_files import chosen, look
from ptspec.store.content_hashes import hash_folder
from ptspec.store.file_hashes import read_hash
from ptspec.store.files import hash_files
from ptspec.store.manifest import KeptFolder, Manifest, open_manifest
from ptspec.store.output_hashes import files_in
from ptspec.store.stage_folder import RECORD, finished_record

NOT_LOOKED_AT = "on the hub, not looked at"
MOST = 3
"""Number of changed files named per folder; further ones are counted."""


@dataclass(frozen=True)
class Line:
    """One checked item, in words; `differs`: it is not as in the manifest."""

    text: str
    differs: bool = False


def verify(run: Path) -> list[Line]:
    """Return the state of the inputs and outputs of `run`.

    Raises `InputError` if it is not a run, or its manifest is damaged.
    """
    manifest = open_manifest(run)
    outputs = [_folder(run, name, kept) for name, kept in manifest.folders.items()]
    return [*inputs(manifest), *outputs, *_not_finished(manifest)]


def _not_finished(manifest: Manifest) -> Iterator[Line]:
    for stage in expanded_stages(manifest.recipe.get("stages")):
        if (name := stage.get("name")) not in manifest.folders:
            yield Line(f"stage {name}: not finished")


def inputs(manifest: Manifest) -> list[Line]:
    """Return the state of the base model, the data, and the other inputs of the recipe."""
    places = Places(manifest.working_directory, manifest.recipe_file.parent)
    return [
        _model(manifest.model, manifest.model_sha256),
        *_sources(manifest, places),
        *(_file(text, kept, places) for text, kept in manifest.files.items()),
        *(_model(name, kept) for name, kept in manifest.models.items()),
    ]


def _model(name: str, kept: str) -> Line:
    if not Path(name).is_absolute():
        return Line(f"model {name}: {NOT_LOOKED_AT}")
    if not Path(name).is_dir():
        return Line(f"model {name}: is not there", True)
    return _compared(f"model {name}", kept, hash_folder(Path(name), read_hash))


def _file(text: str, kept: str, places: Places) -> Line:
    found = places.find(text)
    if found is None or not found.is_file():
        return Line(f"file {text}: is not there", True)
    return _compared(f"file {text}", kept, read_hash(found))


def _sources(manifest: Manifest, places: Places) -> Iterator[Line]:
    given = manifest.recipe.get("data")
    for name, kept in manifest.data.items():
        source = given.get(name) if isinstance(given, Mapping) else None
        if isinstance(source, str):
            source = {"path": source}
        yield from _source(name, kept, source, places)


def _source(name: str, kept: Any, source: Any, places: Places) -> Iterator[Line]:
    """Compare a source's hash: [content or hub id, options]; of a mix a list of such pairs."""
    if not isinstance(source, Mapping) or "mix" in source:
        return
    content = kept[0] if isinstance(kept, list) and kept else None
    if not isinstance(content, str):
        yield Line(f"data {name}: {NOT_LOOKED_AT}")
        return
    given = source.get("path")
    named: Sequence[Any] = given if isinstance(given, list) else [given]
    texts = [text for text in named if isinstance(text, str)]
    files = _files(texts, source.get("split"), places)
    what = f"data {name} ({', '.join(texts)})"
    if not files:
        yield Line(f"{what}: is not there", True)
        return
    yield _compared(what, content, hash_files(files))


def _files(texts: Sequence[str], split: Any, places: Places) -> tuple[Path, ...]:
    """Return the files that the run read; () if they are missing or the split has none."""
    try:
        return chosen([look(text, places) for text in texts], split if isinstance(split, str) else None)[0]
    except ValueError:
        return ()


def _folder(run: Path, name: str, kept: KeptFolder) -> Line:
    what = "evaluation of the base" if kept.sha256 is None else f"stage {name}"
    if kept.sha256 is not None:
        record = finished_record(run, name)
        if record is None:
            return Line(f"{what}: is not there, or its {RECORD} is damaged", True)
        if record.get("fingerprint") != kept.fingerprint:
            return Line(f"{what}: was made by another run than this manifest tells of", True)
    if kept.files is None:
        return _compared(what, str(kept.sha256), hash_folder(run / name, read_hash))
    found = files_in(run / name, read_hash)
    changed = [file for file in kept.files if file in found and found[file] != kept.files[file]]
    gone, added = [f for f in kept.files if f not in found], [f for f in found if f not in kept.files]
    told = [_listed(files, word) for files, word in ((changed, "changed"), (gone, "gone"), (added, "added"))]
    words = "; ".join(filter(None, told))
    return Line(f"{what}: {words or 'unchanged'}", bool(words))


def _listed(files: Sequence[str], word: str) -> str:
    """Return "a, b, c and 2 more changed"."""
    return f"{first_of(files, MOST)} {word}" if files else ""


def _compared(what: str, kept: str, found: str) -> Line:
    if kept == found:
        return Line(f"{what}: unchanged")
    return Line(f"{what}: has changed (sha256 {found[:12]}, the manifest has {kept[:12]})", True)
