"""What `pt validate` reads of rows that several stages take: once, and no stage gets another's."""

import json

import pytest
from support.small import ROOT

from ptspec.checks.preflight import preflight
from ptspec.data.tokens.template import TokenizerFiles


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Checks a recipe of stages; gives what is told, and how often the tokenizer was asked for something."""
    asked = []
    for name in ("tokenise", "rendered"):
        own = getattr(TokenizerFiles, name)
        monkeypatch.setattr(
            TokenizerFiles, name, lambda one, given, own=own: asked.append(1) or own(one, given)
        )

    def check(*stages, **train):
        recipe = {
            "model": str(ROOT / "data/base_model"),
            "adapter": {"use_lora": True},
            "data": {"train": {"path": str(ROOT / "data/train.jsonl"), "limit": 40, **train}},
            "stages": [{"name": f"s{n}", "data": "train", **stage} for n, stage in enumerate(stages)],
        }
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps(recipe))
        asked.clear()
        told = [(one.code, one.pointer, one.message) for one in preflight(file).diagnostics]
        return told, len(asked)

    return check


def short(length, method="sft", **config):
    return {"method": method, "config": {"learning_rate": 2e-4, "max_length": length, **config}}


def test_rows_that_stages_share_are_read_once(checked):
    first, once = checked(short(40), short(40, "dpo"))
    told, asked = checked(short(40), *[short(40, "dpo", beta=0.1 + n / 100) for n in range(9)])
    assert once == asked > 0
    assert [code for code, _, _ in first] == ["rows-cut"] * 2
    assert [pointer for _, pointer, _ in told] == [f"/stages/{n}/config/max_length" for n in range(10)]


def test_stages_that_cut_otherwise_are_reported_each_its_own(checked):
    stages = (
        short(40),
        short(40, "dpo"),
        short(28),
        short(5, "dpo"),
        short(5, "dpo", truncation_mode="keep_end"),
    )
    told, _ = checked(*stages)
    alone = [checked(stage)[0] for stage in stages]
    counted = [message.partition(":")[2] for _, _, message in told]
    assert counted == [message.partition(":")[2] for ((_, _, message),) in alone]
    assert len(set(counted)) == len(stages)


def test_a_stage_without_a_row_is_reported_beside_one_that_has_some(checked):
    rows = ROOT / "tests/bad_recipes/no_row_left/rows.jsonl"
    told, _ = checked(
        short(64), short(4), short(5), short(4), path=str(rows), on_bad_row="leave_out", max_bad_rows=0.5
    )
    assert [pointer for code, pointer, _ in told if code == "no-rows-left"] == [
        "/stages/1/config/max_length",
        "/stages/2/config/max_length",
        "/stages/3/config/max_length",
    ]
