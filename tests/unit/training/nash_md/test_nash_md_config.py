"""The fields of a Nash-MD stage: ranges, schedule, and that they survive pickling."""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path

import pytest
from trl import RLOOConfig

from ptspec.training.nash_md.config import NashMDConfig


def config(tmp_path: Path, **values) -> NashMDConfig:
    return NashMDConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none", **values)


@pytest.mark.parametrize(
    "values",
    [
        {"beta": 0.0},
        {"beta": float("nan")},
        {"mixture_coef": 1.1},
        {"mixture_coef": -0.1},
        {"mixture_coef_end": 2.0},
        {"opponent": "self"},
        {"ema_decay": 1.0},
        {"num_opponents": 0},
        {"probe_steps": -1},
        {"use_vllm": True},
        {"sync_ref_model": True},
        {"generation_kwargs": {"num_beams": 4}},
    ],
    ids=lambda values: str(values),
)
def test_values_that_nash_md_cannot_use_are_refused_by_name(values: dict, tmp_path: Path):
    with pytest.raises(ValueError, match=next(iter(values))):
        config(tmp_path, **values)


def test_every_fault_is_reported_at_once(tmp_path: Path):
    with pytest.raises(ValueError, match=r"beta.*mixture_coef"):
        config(tmp_path, beta=0, mixture_coef=3)


def test_mixture_coef_goes_linearly_to_its_end(tmp_path: Path):
    scheduled = config(tmp_path, mixture_coef=0.5, mixture_coef_end=0.1)
    assert [scheduled.mixture_coef_at(share) for share in (0, 0.5, 1, 2)] == pytest.approx(
        [0.5, 0.3, 0.1, 0.1]
    )
    assert config(tmp_path, mixture_coef=0.5).mixture_coef_at(0.7) == 0.5


@pytest.mark.parametrize(("generations", "opponents"), [(2, 1), (3, 1), (8, 4), (32, 16)])
def test_half_as_many_opponents_as_generations(generations: int, opponents: int, tmp_path: Path):
    made = config(tmp_path, num_generations=generations, per_device_train_batch_size=96)
    assert made.num_opponents == opponents


def test_it_is_pickled_with_the_checkpoint(tmp_path: Path):
    made = config(tmp_path, mixture_coef=0.25, opponent="ema")
    assert pickle.loads(pickle.dumps(made)).mixture_coef == 0.25


def test_every_field_of_our_own_has_help(tmp_path: Path):
    theirs = {field.name for field in fields(RLOOConfig)}
    ours = [field for field in fields(NashMDConfig) if field.name not in theirs]
    assert {field.name for field in ours} == {
        "opponent",
        "mixture_coef",
        "mixture_coef_end",
        "ema_decay",
        "num_opponents",
        "probe_steps",
    }
    assert all(field.metadata["help"] for field in ours)
