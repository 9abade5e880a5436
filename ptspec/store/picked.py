"""Stages that take over a variant: what the choice depends on, whether it is current, and the folder.

The folder is the variant's under another name: hard links if the file system has them, and the same
fingerprint, so that later stages depend on the policy and not on how it was chosen.
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
"""Evaluation files that contain the policy's name and are rewritten for another name."""


def choice_covered(
    plan: Plan, pick: PickSpec, fingerprints: Mapping[str, str], hashes: Hashes
) -> dict[str, Any]:
    """Return what the choice depends on, by name."""
    asked = None if plan.evaluation is None else evaluation_fingerprint(plan, plan.evaluation, hashes)
    keep = [{k: v for k, v in asdict(check).items() if k not in ("at", "on_fail")} for check in pick.keep]
    return {
        "variants": [fingerprints[name] for name in pick.variants],
        "metric": pick.metric,
        "keep": keep,
        "evaluation": asked,
    }


def to_be_picked(covered: Mapping[str, Any]) -> str:
    """Return a placeholder fingerprint for a stage whose variant is not known yet."""
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
    """Return why a finished stage's `record` no longer matches its pick; "" if it does.

    `again`: earlier stages that will be trained.
    """
    assert stage.pick is not None
    changed = _changed(record, stage.pick, covered, again)
    if not changed and not saved.is_as_saved(stage.name):
        changed = CHANGED
    return changed or (ANEW if fresh else "")


def _changed(
    record: Mapping[str, Any], pick: PickSpec, covered: Mapping[str, Any], again: Collection[str]
) -> str:
    """Return why the existing folder is not what would be picked now; "" if it is."""
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
    """Make `partial` the folder of the stage `name` from the variant in `source`.

    Evaluation and checkpoints are left out; `picked` goes into its record. Raises `StageError` if it is not
    the same policy.
    """
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # First, so that a crash leaves a recognisable half-made folder.
    record = read_json(source / RECORD) | {"stage": name, "finished": now(), PICKED: dict(picked)}
    write_json(partial / RECORD, record)
    link_folder(source, partial, leave_out=(*OF_EVALUATION, RECORD, CHECKPOINTS))
    if hash_folder(partial) != hash_folder(source):
        message = f"{name} is not {source.name}, which it takes over: the files changed meanwhile"
        raise StageError(Diagnostic("picked-differs", message, hint="start the same command again"))
