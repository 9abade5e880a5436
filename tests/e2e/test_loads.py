"""Each weight is read once, each file hashed once, and what nothing needs is let go: counted in real runs."""

import copy
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import transformers
from support.small import ROOT, run_here, write_recipe

from ptspec.events import StageStep
from ptspec.model import model_cache
from ptspec.store import file_hashes

pytestmark = pytest.mark.slow

OPENED = (transformers.AutoModelForCausalLM, transformers.AutoModelForSequenceClassification)


@dataclass
class Counts:
    """What was opened, by the name of its folder; what was hashed, by its path; which folders were held for
    later while each stage trained."""

    loads: list[str] = field(default_factory=list)
    hashes: Counter = field(default_factory=Counter)
    held: dict[str, set] = field(default_factory=dict)
    caches: list = field(default_factory=list)

    def of_weights(self):
        return Counter(
            {Path(name).name: n for name, n in self.hashes.items() if name.endswith(".safetensors")}
        )

    def hear(self, event):
        if isinstance(event, StageStep):
            keys = [key for bases in self.caches for key in bases._loaded]
            self.held[event.stage] = {Path(key.folder).name if key.folder else "the base" for key in keys}


@pytest.fixture
def counts(monkeypatch):
    found = Counts()
    for kind in OPENED:
        monkeypatch.setattr(kind, "from_pretrained", counted_loads(kind.from_pretrained, found))
    real_hash, real_init = file_hashes.hash_file, model_cache.Bases.__init__

    def hash_file(path):
        found.hashes[str(path)] += 1
        return real_hash(path)

    def made(self, *arguments):
        real_init(self, *arguments)
        found.caches.append(self)

    monkeypatch.setattr(file_hashes, "hash_file", hash_file)
    monkeypatch.setattr(file_hashes, "_read", {})
    monkeypatch.setattr(model_cache.Bases, "__init__", made)
    return found


def counted_loads(real, found):
    def from_pretrained(path, *arguments, **options):
        found.loads.append(Path(path).name)
        return real(path, *arguments, **options)

    return from_pretrained


def chain(*methods, start=None, evaluated=True, **config):
    """Full fine-tuning, stage after stage, with a checkpoint a step."""

    def change(recipe):
        recipe["adapter"] = {"use_lora": False}
        first = recipe["stages"][0]
        first["config"].update(max_steps=2, learning_rate=1e-5, save_steps=1, **config)
        named = [{**copy.deepcopy(first), "name": method, "method": method} for method in methods]
        if start is not None:
            named[0]["from"] = str(start)
        recipe["stages"] = named
        if not evaluated:
            recipe.pop("eval")

    return change


def test_a_full_chain_reads_each_weight_once_and_the_same_command_none(counts, tmp_path):
    recipe, output = write_recipe(tmp_path, chain("sft", "orpo", "dpo")), tmp_path / "out"
    assert run_here(recipe, output, counts.hear).error is None
    assert counts.loads == ["base_model", ".sft.partial", ".orpo.partial", ".dpo.partial"]
    assert set(counts.hashes.values()) == {1}, counts.hashes.most_common(5)
    # The KL of each stage is to the base, which waits for that.
    assert counts.held == {"sft": {"the base"}, "orpo": {"the base"}, "dpo": {"the base"}}
    assert not list(output.glob("*/checkpoints/checkpoint-*")), "whole weights that nothing can go on from"

    counts.loads.clear()
    counts.hashes.clear()
    again = run_here(recipe, output)
    assert again.error is None and not again.resumed
    assert (counts.loads, counts.hashes) == ([], Counter())


def test_what_nothing_needs_is_let_go(counts, tmp_path):
    recipe = write_recipe(tmp_path, chain("sft", "orpo", "dpo", evaluated=False, save_total_limit=1))
    assert run_here(recipe, tmp_path / "out", counts.hear).error is None
    assert counts.loads == ["base_model", ".sft.partial", ".orpo.partial", ".dpo.partial"]
    assert counts.held == {"sft": set(), "orpo": set(), "dpo": set()}
    kept = sorted(path.parent.parent.name for path in (tmp_path / "out").glob("*/checkpoints/checkpoint-*"))
    assert kept == ["dpo", "orpo", "sft"], "save_total_limit was asked for"


def test_adapters_share_one_base(counts, tmp_path):
    recipe, output = write_recipe(tmp_path), tmp_path / "out"
    assert run_here(recipe, output, counts.hear).error is None
    assert counts.loads == ["base_model"]
    assert set(counts.hashes.values()) == {1}, counts.hashes.most_common(5)
    counts.loads.clear()
    assert run_here(recipe, output).error is None
    assert counts.loads == []


def test_a_chain_from_another_model_leaves_the_base_alone(counts, tmp_path):
    other = shutil.copytree(ROOT / "data/base_model", tmp_path / "other")
    recipe = write_recipe(tmp_path, chain("sft", "orpo", start=other, evaluated=False))
    assert run_here(recipe, tmp_path / "out", counts.hear).error is None
    assert counts.loads == ["other", ".sft.partial", ".orpo.partial"]
    assert counts.of_weights()["model.safetensors"] and set(counts.hashes.values()) == {1}


def test_the_evaluation_of_another_model_is_kept(counts, tmp_path):
    other = shutil.copytree(ROOT / "data/base_model", tmp_path / "other")
    recipe = write_recipe(tmp_path, chain("sft", start=other))
    assert run_here(recipe, tmp_path / "out").error is None
    assert counts.loads == ["base_model", "other", ".sft.partial"]
    assert (tmp_path / "out/sft/reference/evaluation_stats.json").is_file()
    counts.loads.clear()
    assert run_here(recipe, tmp_path / "out").error is None
    assert counts.loads == []


def test_a_base_that_a_later_stage_starts_from_is_not_given_away(counts, tmp_path):
    def change(recipe):
        chain("sft", "orpo", evaluated=False)(recipe)
        recipe["stages"][1]["from"] = "base"

    assert run_here(write_recipe(tmp_path, change), tmp_path / "out", counts.hear).error is None
    assert counts.loads == ["base_model", ".sft.partial", ".orpo.partial"]
    assert counts.held == {"sft": {"the base"}, "orpo": set()}
