"""The stage folders of a run: creating, setting aside, taking over and publishing.

No finished or unfinished work is lost: it is set aside, and reported with its size.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptspec.data.readers.placed import shown
from ptspec.events import Listener, StageReused, Warned
from ptspec.recipe.hints import bytes_in_words
from ptspec.recipe.plan import Stage
from ptspec.store.files import folder_size, read_json, write_json
from ptspec.store.half_made import (
    MARK,
    SAVED,
    is_made_for,
    kept_aside,
    make_partial,
    read_mark,
    set_aside,
    set_finished_aside,
)
from ptspec.store.other_runs import take_over
from ptspec.store.output_hashes import OutputHashes
from ptspec.store.picked import ANEW
from ptspec.store.reuse import Reuse, what_changed
from ptspec.store.stage_folder import RECORD, finished_record, partial_folder, publish, rename_finished


@dataclass(frozen=True)
class StageFolders:
    """The folders of the run in `output`; `hashes` knows what was saved; `fresh`: resume nothing."""

    output: Path
    hashes: OutputHashes
    listener: Listener
    fresh: bool

    def partial(self, stage: Stage, reuse: Reuse) -> Path:
        """Return the folder to make the stage in, with earlier work on the same stage.

        Work with other settings is set aside; with `fresh`, all of it.
        """
        fingerprint, partial = reuse.fingerprint, partial_folder(self.output, stage.name)
        if self.fresh or not is_made_for(partial, fingerprint):
            self.half_made_aside(stage, self._why_aside(partial, stage, reuse))
            kept = None if self.fresh else kept_aside(self.output, stage.name, fingerprint)
            if kept is not None:
                kept.rename(partial)
                self._warn(stage, f"goes on with what was set aside in {shown(kept)}")
        return make_partial(self.output, stage.name, fingerprint, reuse.covered)

    def publish(self, stage: Stage, reuse: Reuse) -> Path:
        """Rename the made folder to its final name and return it; a finished one there is set aside."""
        partial, final = partial_folder(self.output, stage.name), self.output / stage.name
        for mark in (MARK, SAVED):
            (partial / mark).unlink(missing_ok=True)
        if final.exists():
            self.finished_aside(stage, reuse.fingerprint)
        publish(partial, final)
        return final

    def half_made_aside(self, stage: Stage, why: str) -> None:
        """Set aside the unfinished `stage` and report `why`."""
        if (aside := set_aside(self.output, stage.name)) is not None:
            self._warn(stage, f"what was half made is set aside in {_with_size(aside)}: {why}")

    def finished_aside(self, stage: Stage, fingerprint: str) -> None:
        """Set aside the finished `stage`; `fingerprint`: that of its replacement."""
        before = (finished_record(self.output, stage.name) or {}).get("fingerprint")
        aside = set_finished_aside(self.output, stage.name, self.hashes.saved(stage.name))
        settings = "before" if before == fingerprint else "with other settings"
        self._warn(stage, f"what was finished {settings} is set aside in {_with_size(aside)}")

    def take_over(self, stage: Stage, reuse: Reuse, fingerprints: Mapping[str, str]) -> bool:
        """Copy the stage's folder from another run if there is one; return whether it was.

        `fingerprints`: those of earlier stages.
        """
        found = reuse.taken_from
        if found is None:
            return False
        names = {fingerprint: name for name, fingerprint in fingerprints.items()}
        if not take_over(found, self.partial(stage, reuse), stage.name, stage.parent, names):
            self._warn(stage, f"{shown(found.folder)} has changed since it was saved: not taken over")
            return False
        if stage.merge is not None:
            record = partial_folder(self.output, stage.name) / RECORD
            of = {part.name: part.weight for part in stage.merge.parts}
            write_json(record, read_json(record) | {"of": of})
        self.publish(stage, reuse)
        self.listener(StageReused(stage.name, found.when, shown(found.folder)))
        return True

    def rename(self, before: str, stage: Stage) -> None:
        """Rename a finished stage to its new name; its evaluation, which holds the old one, is redone."""
        self._warn(stage, f"{before} is called {stage.name} now; nothing else of it has changed")
        rename_finished(self.output, before, stage.name)

    def _why_aside(self, partial: Path, stage: Stage, reuse: Reuse) -> str:
        if self.fresh and is_made_for(partial, reuse.fingerprint):
            return ANEW
        changed = what_changed(read_mark(partial), stage.parent, reuse.covered)
        return ", ".join(changed) or "it does not say of which settings"

    def _warn(self, stage: Stage, text: str) -> None:
        self.listener(Warned(text, stage.name))


def _with_size(folder: Path) -> str:
    where = shown(folder)
    return f"{where} ({bytes_in_words(folder_size(folder))}; rm -r {shlex.quote(where)} deletes it)"
