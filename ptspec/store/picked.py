"""A stage that takes over a variant: what the choice depends on, whether it stands, and the folder itself.

The folder is the variant's under another name: the same files by hard links, where the file system has them,
and the same fingerprint, so that what is built on it is built on the policy and not on how it was found.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptspec.diagnostics import Diagnostic, StageError
from ptspec.recipe.plan import PickSpec, Plan, Stage
from ptspec.store.content_hashes import Hashes, digest, hash_folder
from ptspec.store.files import link_folder, read_json, write_json
from ptspec.store.fingerprint import evaluation_fingerprint
from ptspec.store.manifest import now
from ptspec.store.output_hashes import CHANGED, OutputHashes
from ptspec.store.stage_folder import AGGREGATES, CHECKPOINTS, PICKED, RECORD

ANEW = "asked for with --fresh"
OF_EVALUATION = frozenset(
    (
        *(AGGREGATES, "evaluation_rows.jsonl", "sample_responses.json", "lm_eval_documents.json"),
        *("comparison.json", "training_curves.png", "perplexity_distribution.png", "response_lengths.png"),
        *("model_comparison.png", "reference"),
    )
)
"""What tells of a policy under its name, and is written anew for another name."""


def choice_covered(
    plan: Plan, pick: PickSpec, fingerprints: Mapping[str, str], hashes: Hashes
) -> dict[str, Any]:
    """What the choice depends on, by name."""
    asked = None if plan.evaluation is None else evaluation_fingerprint(plan, plan.evaluation, hashes)
    keep = [{k: v for k, v in asdict(check).items() if k not in ("at", "on_fail")} for check in pick.keep]
    return {
        "variants": [fingerprints[name] for name in pick.variants],
        "metric": pick.metric,
        "keep": keep,
        "evaluation": asked,
    }


def to_be_picked(covered: Mapping[str, Any]) -> str:
    """The fingerprint of a stage before it is known which variant it takes over: one that nothing has."""
    return digest(["to be picked", covered])


def why_picked_anew(
    record: Mapping[str, Any],
    stage: Stage,
    covered: Mapping[str, Any],
    saved: OutputHashes,
    *,
    fresh: bool,
    again: Collection[str] = (),
) -> str:
    """In words, why what a finished `record` of `stage` says is not what it takes over now; empty where it
    is. `again`: the stages before it that will be trained."""
    assert stage.pick is not None
    changed = _changed(record, stage.pick, covered, again)
    if not changed and not saved.is_as_saved(stage.name):
        changed = CHANGED
    return changed or (ANEW if fresh else "")


def _changed(
    record: Mapping[str, Any], pick: PickSpec, covered: Mapping[str, Any], again: Collection[str]
) -> str:
    """In words, why what lies there is not what would be picked now; empty where it is."""
    before = record.get(PICKED)
    if not isinstance(before, Mapping) or not isinstance(before.get("covered"), Mapping):
        return "it was trained without a matrix"
    if anew := [name for name in pick.variants if name in again]:
        return f"{', '.join(anew)} to come" if len(anew) < 4 else f"{len(anew)} variants to come"
    kept = before["covered"]
    changed = [name for name, value in covered.items() if kept.get(name) != value]
    if changed or record.get("fingerprint") not in covered["variants"]:
        return f"{', '.join(changed) or 'variants'} changed"
    return ""


def take_over(source: Path, partial: Path, name: str, picked: Mapping[str, Any]) -> None:
    """Makes `partial`, the folder of the stage `name`, of the variant in `source`, but for its evaluation and
    its checkpoints; `picked` goes into its record. Raises `StageError` where it is not the same policy."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # First: what a crash leaves here is then known as half of this, and as nothing that was trained.
    record = read_json(source / RECORD) | {"stage": name, "finished": now(), PICKED: dict(picked)}
    write_json(partial / RECORD, record)
    link_folder(source, partial, leave_out=(*OF_EVALUATION, RECORD, CHECKPOINTS))
    if hash_folder(partial) != hash_folder(source):
        message = f"{name} is not {source.name}, which it takes over: the files changed meanwhile"
        raise StageError(Diagnostic("picked-differs", message, hint="start the same command again"))
