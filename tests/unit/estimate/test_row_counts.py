"""Rows of several stages: what they share is read once, and nothing is shared that differs."""

from __future__ import annotations

import json

import pytest
from support.small import ROOT

from ptspec.data.tokens.lengths import TOKENISED_BY
from ptspec.data.tokens.template import tokenizer_files
from ptspec.estimate import rowcount
from ptspec.estimate.rowcount import RowCounts
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.resolve import load_plan

METHODS = ("sft", "dpo", "kto", "orpo", "reward", "grpo")


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Counts the rows of stages; gives also what was read, and the fields that were asked for."""

    def count(stages):
        reads, fields = [], set()
        source, value = rowcount._source, EffectiveConfig.value
        monkeypatch.setattr(rowcount, "_source", lambda *given: reads.append(given[0].name) or source(*given))
        monkeypatch.setattr(EffectiveConfig, "value", lambda one, name: fields.add(name) or value(one, name))
        recipe = {
            "model": str(ROOT / "data/base_model"),
            "data": {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 40}},
            "rewards": {"long": {"function": "length", "max": 90}},
            "stages": [{"data": "train", **stage} for stage in stages],
        }
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps(recipe))
        plan = load_plan(file)
        counts = RowCounts(plan, tokenizer_files(plan.model))
        found = [counts.of(EffectiveConfig(stage, stage.compute, gpu=False)) for stage in plan.stages]
        return found, reads, fields

    return count


def stage(name, method="sft", **config):
    return {"name": name, "method": method, "config": config}


def test_stages_that_differ_in_how_they_learn_share_their_rows(counted):
    found, reads, _ = counted([stage("a"), stage("b", learning_rate=1e-3), stage("c", max_length=40)])
    assert reads == ["train", "train"]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("method", METHODS)
def test_counting_asks_for_no_field_that_stages_do_not_share_by(method, counted):
    more = {"rewards": ["long"]} if method == "grpo" else {}
    _, reads, fields = counted([{**stage("one", method), **more}])
    assert reads == ["train"]
    assert fields <= set(TOKENISED_BY)
