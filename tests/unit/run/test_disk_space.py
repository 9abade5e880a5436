"""The disk is looked at before a run: what it would write is not underestimated."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from support.small import ROOT

from ptspec.checks.preflight import preflight
from ptspec.diagnostics import StageError
from ptspec.estimate.forecast import forecast, most_written
from ptspec.run.disk_space import check_disk

MANY = {"max_steps": 300, "save_steps": 1, "save_total_limit": 200}
EVERY = {"max_steps": 300, "save_steps": 1, "save_total_limit": None}
FEW = {"max_steps": 30}


@pytest.fixture
def plan(tmp_path):
    def plan(config, adapter):
        (tmp_path / "out").mkdir(exist_ok=True)
        train = {"path": str(ROOT / "data/train.jsonl"), "limit": 16}
        stages = [{"name": name, "method": "sft", "data": "train", "config": config} for name in ("a", "b")]
        value = {"model": str(ROOT / "data/base_model"), "adapter": adapter, "data": {"train": train}}
        (tmp_path / "r.json").write_text(json.dumps({**value, "stages": stages}))
        made = preflight(tmp_path / "r.json", (), tmp_path / "out").plan
        assert made is not None
        return made

    return plan


@pytest.mark.parametrize(
    "adapter", [{"use_lora": False}, {"use_lora": True, "r": 1024, "target_modules": "all-linear"}]
)
@pytest.mark.parametrize("config", [MANY, EVERY, FEW])
def test_no_run_writes_more_than_the_bound(plan, config, adapter):
    made = plan(config, adapter)
    disks = [stage.disk for stage in forecast(made).stages]
    assert most_written(made) >= disks[0].kept + disks[1].peak


@pytest.mark.parametrize("config", [MANY, EVERY])
def test_many_checkpoints_of_whole_weights_are_counted(plan, config, monkeypatch):
    """100 bytes a parameter and stage would be 200 MB; 200 checkpoints of float32 weights take 2.5 GB."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=400_000_000))
    with pytest.raises(StageError, match="the run writes up to"):
        check_disk(made := plan(config, {"use_lora": False}), made.stages)
    few = plan(FEW, {"use_lora": False})
    check_disk(few, few.stages)
