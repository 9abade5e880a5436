"""Rows that are left out of the lengths untokenised are shorter than what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.small import ROOT

from ptspec.checks.stage_rows import StageRows
from ptspec.data.readers.placed import PlacedRow
from ptspec.data.tokens.lengths import lengths_of
from ptspec.data.tokens.template import tokenizer_files
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.resolve import load_plan

TEXTS = ("", "a", "the town of Zeldin", "größe ☃ 東京", "\n\n\n\n", "x" * 90, "word " * 40)
SYSTEMS = (None, "Be brief.", "☃" * 60)


def rows(columns):
    """Each text in each column, the others short; of some a system prompt, an input, tools beside."""
    made = [
        {name: text if name == column else "b" for name in columns} for column in columns for text in TEXTS
    ]
    made += [{**row, "system": "s" * 70, "input": "i" * 50} for row in made]
    made += [{**row, "tools": [{"type": "function", "function": {"name": "f" * 80}}]} for row in made[:3]]
    return [PlacedRow(Path("rows.jsonl"), line, values) for line, values in enumerate(made, start=1)]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("stage", "columns"),
    [("sft", ("instruction", "output")), ("sft", ("text",)), ("dpo", ("prompt", "chosen", "rejected"))],
)
def test_rows_left_out_are_shorter(monkeypatch, stage, columns, system):
    monkeypatch.chdir(ROOT)
    plan = load_plan(Path("recipes/sft_dpo.json"))
    tokenizer = tokenizer_files(plan.model)
    source = replace(plan.data["train"], system=system)
    own = plan.stage(stage)
    settings = EffectiveConfig(own, own.compute, gpu=False)
    placed = rows(columns)
    every = list(lengths_of(placed, source, settings, tokenizer))
    added = StageRows(plan, tokenizer, {}).added_tokens
    counts = []
    for least in (20, 60, 120, 240, 1000):
        kept = {row.line for row in lengths_of(placed, source, settings, tokenizer, at_least=least)}
        assert {row.line for row in every if row.longest - added >= least} <= kept
        counts.append(len(kept))
    assert counts[0] > counts[-1] == 0
