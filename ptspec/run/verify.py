"""`pt verify`: the hashes that a run's manifest holds, computed again. Reads everything, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptspec.data.sources import content_hash
from ptspec.diagnostics import Diagnostic, InputError, Location
from ptspec.recipe.places import Places
from ptspec.recipe.plan import Source
from ptspec.run.artifact import finished_record, read_json
from ptspec.run.fingerprint import hash_folder
from ptspec.run.manifest import MANIFEST

NOT_LOOKED_AT = "on the hub, not looked at"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at, in words; `differs`: it is not what the manifest says."""

    text: str
    differs: bool = False


def verify(run: Path) -> list[Line]:
    """What became of the inputs and outputs of `run`. Raises `InputError` where that is no run, or its
    manifest is damaged."""
    if not (run / MANIFEST).is_file():
        what = "it has no manifest.json" if run.is_dir() else "there is no such folder"
        hint = "give a run's folder: outputs/NAME"
        raise InputError(Diagnostic("not-a-run", f"no run: {what}", Location(str(run)), hint=hint))
    manifest = read_json(run / MANIFEST)
    try:
        return list(_lines(run, manifest))
    except (KeyError, TypeError, AttributeError, ValueError):
        message = "this manifest lacks what a run's manifest holds"
        where = Location(str(run / MANIFEST))
        raise InputError(Diagnostic("damaged-file", message, where)) from None


def _lines(run: Path, manifest: Mapping[str, Any]) -> Iterator[Line]:
    yield _model(manifest["model"])
    places = Places(
        Path(manifest.get("working_directory") or Path.cwd()), Path(manifest["recipe_file"]).parent
    )
    sources = manifest["recipe"]["data"]
    for name, kept in manifest["data"].items():
        yield from _source(name, kept, sources.get(name), places)
    for name, kept in manifest["stages"].items():
        yield _stage(run, name, kept)


def _model(kept: Mapping[str, Any]) -> Line:
    folder = Path(kept["path"])
    if not folder.is_absolute():
        return Line(f"model {kept['path']}: {NOT_LOOKED_AT}")
    if not folder.is_dir():
        return Line(f"model {folder}: is not there", True)
    return _compared(f"model {folder}", kept["sha256"], hash_folder(folder))


def _source(name: str, kept: Any, source: Any, places: Places) -> Iterator[Line]:
    """A source's hash is [content or hub id, options]; a mix's, a list of such pairs: its parts are in the
    manifest themselves."""
    if not isinstance(source, Mapping) or "mix" in source:
        return
    content = kept[0]
    if not isinstance(content, str):
        yield Line(f"data {name}: {NOT_LOOKED_AT}")
        return
    given = source["path"]
    texts: Sequence[str] = [given] if isinstance(given, str) else given
    files = [file for text in texts for file in places.expand(text)]
    what = f"data {name} ({', '.join(texts)})"
    if not files:
        yield Line(f"{what}: is not there", True)
        return
    yield _compared(what, content, content_hash(Source(name, tuple(dict.fromkeys(files)))))


def _stage(run: Path, name: str, kept: Mapping[str, Any]) -> Line:
    record = finished_record(run, name)
    if record is None:
        return Line(f"stage {name}: is not there, or its stage.json is damaged", True)
    if record.get("fingerprint") != kept["fingerprint"]:
        return Line(f"stage {name}: was made by another run than this manifest tells of", True)
    return _compared(f"stage {name}", kept["sha256"], hash_folder(run / name))


def _compared(what: str, kept: str, found: str) -> Line:
    if kept == found:
        return Line(f"{what}: unchanged")
    return Line(f"{what}: has changed (sha256 {found[:12]}, the manifest has {str(kept)[:12]})", True)
