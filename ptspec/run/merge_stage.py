"""Make a stage that is a weighted sum of policies, and verify what was saved.

The saved folder is opened anew and compared with the same sum computed by PEFT or from models in memory.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from peft import PeftConfig

from ptspec.events import Listener, StageMerged
from ptspec.model import probes
from ptspec.model.base import load_tokenizer
from ptspec.model.device import begin_peak_memory, peak_memory
from ptspec.model.merging import (
    Part,
    adapters_by_peft,
    add_weights,
    save_mean,
    scale_weights,
    sum_of_adapters,
)
from ptspec.model.model_cache import Bases
from ptspec.model.probes import Probes
from ptspec.model.save import save_sum
from ptspec.recipe.plan import BASE, Plan, Stage
from ptspec.run.needs import Needs
from ptspec.store.content_hashes import deciding_files
from ptspec.store.stage_folder import MODEL_CONFIG, Artifact, open_artifact
from ptspec.training.start_checks import check_saved

TEXTS = (
    "The policy that is saved here is the sum of others.",
    "Question: what is seven times six?\nAnswer: 42.",
    "def add(a, b):\n    return a + b\n",
    "Once upon a time, in a village by the sea, there lived an old fisherman.",
)
"""Texts to probe a sum with if none of its parts has stored probes."""


@dataclass(frozen=True)
class Merged:
    """A saved merge; `saved_to_sum`: its distance from the same sum in memory, in nats per token."""

    seconds: float
    peak_memory_bytes: int
    saved_to_sum: float


@dataclass(frozen=True)
class StageMerger:
    """Makes the merge stages of `plan`. `needs` tells which weights are still needed."""

    plan: Plan
    bases: Bases
    needs: Needs
    listener: Listener

    def make(self, stage: Stage, folder: Path) -> Merged:
        """Merge and save `stage`.

        Raises `InputError` for parts that cannot be summed, `StageError` if the saved policy is not their
        sum.
        """
        merge = stage.merge
        assert merge is not None
        begun = time.monotonic()
        begin_peak_memory(self.bases.device)
        self.bases.keep(self.needs.of(stage))
        parts = [(self._artifact(part.name, part.at), part.weight) for part in merge.parts]
        if merge.of_adapters:
            expected = self._adapters(stage, parts, folder)
        else:
            expected = self._weights(stage, parts, folder)
        probes.store(expected, folder)
        self.bases.keep(self.needs.after_training(stage))
        saved = self.bases.open(stage.adapter, open_artifact(folder))[0]
        distance = check_saved(stage, saved, expected)
        merged = Merged(time.monotonic() - begun, peak_memory(self.bases.device), distance)
        self.listener(StageMerged(stage.name, merge.words, merged.seconds))
        return merged

    def _artifact(self, name: str, at: str) -> Artifact | None:
        """Return the folder of a part; None for the base."""
        if name == BASE:
            return None
        folder = Path(name) if self.plan.stage(name) is None else self.plan.output / name
        return open_artifact(folder, at)

    def _adapters(self, stage: Stage, parts: Sequence[tuple[Artifact | None, float]], folder: Path) -> Probes:
        """Save the sum of the adapters among `parts` and return the probes of PEFT's sum.

        The weights below contribute nothing to the sum.
        """
        adapters = [(one, weight) for one, weight in parts if one is not None and one.is_adapter]
        first = adapters[0][0]
        base = self.bases.get(stage.adapter, first)
        of = [(one.folder, weight) for one, weight in adapters]
        save_sum(sum_of_adapters(of), PeftConfig.from_pretrained(str(first.folder)), base, folder)
        _, opened = self.bases.open(stage.adapter, first)
        base.model.generation_config.save_pretrained(str(folder))
        opened.tokenizer.save_pretrained(str(folder))
        ids = self._ids([one for one, _ in adapters], opened.tokenizer)
        return probes.measure(adapters_by_peft(base.spawn(), of).eval(), ids)

    def _weights(self, stage: Stage, parts: Sequence[tuple[Artifact | None, float]], folder: Path) -> Probes:
        """Save the mean of full weights and return the probes of the mean of the opened models.

        Two models are open at a time.
        """
        of: list[Part] = [(self._weights_folder(one), weight) for one, weight in parts]
        save_mean(of, folder)
        for file in deciding_files(of[0][0]):
            if file.name == MODEL_CONFIG or file.suffix == ".py":
                shutil.copyfile(file, folder / file.name)
        tokenizer = load_tokenizer(self.plan.model, str(of[0][0]))
        tokenizer.save_pretrained(str(folder))
        (first, weight), *others = parts
        base = self.bases.give_away(stage.adapter, first)
        base.model.generation_config.save_pretrained(str(folder))
        model = base.spawn(own_weights=True)
        scale_weights(model, weight)
        for one, weight in others:
            add_weights(model, self.bases.give_away(stage.adapter, one).model, weight)
            self.bases.release()
        found = [one for one, _ in parts if one is not None]
        return probes.measure(model.requires_grad_(False).eval(), self._ids(found, tokenizer))

    def _weights_folder(self, one: Artifact | None) -> Path:
        if one is not None:
            return one.folder
        model = self.plan.model
        if model.local:
            return Path(model.path)
        return Path(snapshot_download(model.path, revision=model.revision, allow_patterns=PATTERNS))

    def _ids(self, parts: Sequence[Artifact], tokenizer: Any) -> tuple[tuple[int, ...], ...]:
        """Return the probe token sequences of the first part that has them."""
        left = (probes.load(part.folder) for part in parts)
        known = next((one for one in left if one is not None), None)
        return known.ids if known is not None else probes.sequences(tokenizer, [{"text": t} for t in TEXTS])


PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py"]
"""Files of a hub model that are opened."""


def merged_record(stage: Stage, merged: Merged) -> dict[str, Any]:
    """Return the part of a merge's record that only merges have."""
    assert stage.merge is not None
    return {
        "of": {part.name: part.weight for part in stage.merge.parts},
        "config": {},
        "performance": None,
        "steps": 0,
        "best": None,
        "trainable_parameters": 0,
        "seconds": round(merged.seconds, 3),
        "peak_memory_bytes": merged.peak_memory_bytes,
        "checks": {
            "policy_to_handed_over": None,
            "policy_to_reference": None,
            "saved_to_trained": merged.saved_to_sum,
            "unit": "mean |difference| of token log-probabilities of the probes, nats",
        },
    }
