"""Find finished stages of other runs in the same `outputs/`, and copy them.

A stage with the same fingerprint has the same result, whichever run made it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ptspec.diagnostics import InputError
from ptspec.store.content_hashes import hash_folder
from ptspec.store.files import link_folder, read_json, write_json
from ptspec.store.manifest import MANIFEST, KeptFolder, peek_manifest
from ptspec.store.output_hashes import OutputHashes, files_in
from ptspec.store.run_names import OUTPUTS
from ptspec.store.stage_folder import (
    ADAPTER_CONFIG,
    AGGREGATES,
    PICKED,
    RECORD,
    adapter_weights,
    finished_record,
)


@dataclass(frozen=True)
class Finished:
    """The finished stage `name` of another `run`.

    `kept`: the folder's entry in that run's manifest. `below`: the stage of that run that its adapter was
    trained on, if any, and its fingerprint.
    """

    run: Path
    name: str
    when: str
    kept: KeptFolder
    below: tuple[str, str] | None

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return self.run / self.name


class OtherRuns:
    """The other runs beside `output`; none if its parent is not called `outputs`."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._stages: list[tuple[Path, str, KeptFolder]] | None = None

    def find(self, fingerprint: str, fingerprints: Mapping[str, str]) -> Finished | None:
        """Return an unchanged finished stage with this fingerprint, else None.

        `fingerprints`: those of the stages of this run so far; the one its adapter was trained on must be
        among them.
        """
        if self._stages is None:
            self._stages = list(self._read())
        same = ((run, name, kept) for run, name, kept in self._stages if kept.fingerprint == fingerprint)
        for found in filter(None, (_whole(*stage) for stage in same)):
            if found.below is None or found.below[1] in fingerprints.values():
                return found
        return None

    def _read(self) -> Iterator[tuple[Path, str, KeptFolder]]:
        if self._output.parent.name != OUTPUTS:
            return
        for manifest in sorted(self._output.parent.glob(f"*/{MANIFEST}")):
            if manifest.parent == self._output:
                continue
            try:
                folders = peek_manifest(manifest.parent).folders
            except InputError:
                continue  # any error: not a run of ptspec
            for name, kept in folders.items():
                if kept.fingerprint is not None and kept.files is not None:
                    yield manifest.parent, name, kept


def _whole(run: Path, name: str, kept: KeptFolder) -> Finished | None:
    record = finished_record(run, name) or {}
    if record.get("fingerprint") != kept.fingerprint or not OutputHashes(run).is_as_saved(name):
        return None
    below = _below(run / name)
    if below is None:
        return Finished(run, name, str(record.get("finished", "")), kept, None)
    fingerprint = (finished_record(run, below) or {}).get("fingerprint")
    return Finished(run, name, str(record.get("finished", "")), kept, (below, str(fingerprint)))


def _below(folder: Path) -> str | None:
    """Return the stage beside `folder` that the adapter in it was trained on."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return None
    named = Path(str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or ""))
    weights = Path(adapter_weights(folder, {"base_model_name_or_path": str(named)}))
    is_beside = named.is_absolute() and weights.parent.resolve() == folder.parent.resolve()
    return weights.name if is_beside and (weights / RECORD).is_file() else None


def take_over(found: Finished, partial: Path, stage: str, parent: str, names: Mapping[str, str]) -> bool:
    """Make `partial` the folder of `stage` from `found`, by hard links if possible.

    Returns False, leaving `partial` as it was, if the found model is not as saved. The evaluation is copied
    if every file is unchanged and its reference has the same name. `names`: fingerprint -> stage of this run.
    """
    made = partial.parent / f"{partial.name}.taken"
    shutil.rmtree(made, ignore_errors=True)
    try:
        link_folder(found.folder, made)
        if hash_folder(made) != found.kept.sha256:
            shutil.rmtree(made)
            return False
        if files_in(made) != found.kept.files:
            (made / AGGREGATES).unlink(missing_ok=True)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        return False
    _made_own(found, made, stage, parent, names)
    shutil.rmtree(partial, ignore_errors=True)
    made.rename(partial)
    return True


def _made_own(found: Finished, made: Path, stage: str, parent: str, names: Mapping[str, str]) -> None:
    """Write this run's names into files that hold those of the other run, as new files."""
    record = {key: value for key, value in read_json(made / RECORD).items() if key != PICKED}
    if record.get("parent") != parent:
        (made / AGGREGATES).unlink(missing_ok=True)
    taken = {"run": str(found.run), "stage": found.name}
    write_json(made / RECORD, record | {"stage": stage, "parent": parent, "taken_over": taken})
    if found.below is not None:
        config = read_json(made / ADAPTER_CONFIG)
        weights = made.parent / names[found.below[1]]
        write_json(made / ADAPTER_CONFIG, config | {"base_model_name_or_path": str(weights)})
