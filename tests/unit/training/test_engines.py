"""What is handed to accelerate so that it shards a stage, and what is hooked into what shards it."""

from __future__ import annotations

import pytest
import torch

from ptspec.recipe.plan import ComputeSpec
from ptspec.training import engines
from ptspec.training.checkpoints import Written, written_by


def compute(**given):
    return ComputeSpec(launcher="accelerate", processes=2, **given)


def deepspeed(**config):
    return compute(strategy="deepspeed", deepspeed=config)


def test_rows_passes_clipping_and_precision_of_deepspeed_are_the_trainers():
    config = engines.arguments_of(deepspeed(fp16={"loss_scale_window": 9}))["deepspeed"]
    assert {name for name, value in config.items() if value == "auto"} == set(engines.FROM_TRAINER)
    assert config["bf16"] == {"enabled": "auto"}
    assert config["fp16"] == {"loss_scale_window": 9, "enabled": "auto"}
    assert config["zero_optimization"] == {"stage": 2}


def test_what_stage_3_saves_is_gathered_and_the_options_of_the_recipe_are_kept():
    zero = {"stage": 3, "overlap_comm": False, "offload_optimizer": {"device": "cpu"}}
    spec = deepspeed(zero_optimization=zero)
    config = engines.deepspeed_config(spec)
    assert config["zero_optimization"] == {**zero, "stage3_gather_16bit_weights_on_model_save": True}
    assert spec.deepspeed == {"zero_optimization": zero}, "the plan is as it was"


@pytest.mark.parametrize(
    ("spec", "engine", "stage", "sharded", "written"),
    [
        (deepspeed(), "deepspeed", 2, False, Written.ZERO_2),
        (deepspeed(zero_optimization={"stage": 3}), "deepspeed", 3, True, Written.ZERO_3),
        (compute(strategy="fsdp"), "fsdp", None, True, Written.FSDP),
        (compute(strategy="ddp"), None, None, False, Written.WHOLE),
        (ComputeSpec(strategy="deepspeed"), None, None, False, Written.WHOLE),
    ],
)
def test_what_shards_a_stage(spec, engine, stage, sharded, written):
    assert (spec.engine, spec.zero_stage, spec.is_sharded) == (engine, stage, sharded)
    assert Written.by(spec) is written
    assert bool(engines.arguments_of(spec)) == (engine is not None)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("pytorch_model_fsdp_0/x.distcp", Written.FSDP),
        ("global_step4/zero_pp_rank_0_mp_rank_00_model_states.pt", Written.ZERO_3),
        ("global_step4/mp_rank_00_model_states.pt", Written.ZERO_2),
        ("optimizer.pt", Written.WHOLE),
    ],
)
def test_a_checkpoint_tells_what_wrote_it(tmp_path, file, expected):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert written_by(tmp_path) is expected


class Engine:
    def __init__(self, *, applies: bool) -> None:
        self.applies, self.steps = applies, 0

    def step(self) -> None:
        self.steps += 1

    def was_step_applied(self) -> bool:
        return self.applies


class Trainer:
    def __init__(self, engine: object, *, is_deepspeed: bool = True) -> None:
        self.model_wrapped, self.is_deepspeed_enabled = engine, is_deepspeed


@pytest.mark.parametrize("applies", [True, False])
def test_a_step_within_the_backward_pass_is_reported_before_and_after(applies):
    engine, told = Engine(applies=applies), []
    engines.around_update(Trainer(engine), lambda: told.append(("before", engine.steps)), told.append)
    engine.step()
    assert told == [("before", 0), applies]


def test_other_trainers_are_left_as_they_are():
    engine = Engine(applies=True)
    engines.around_update(Trainer(engine, is_deepspeed=False), lambda: None, lambda changed: None)
    assert "step" not in vars(engine)


def test_a_parameter_that_is_elsewhere_is_counted():
    here, elsewhere = torch.nn.Parameter(torch.zeros(3, 2)), torch.nn.Parameter(torch.zeros(0))
    elsewhere.ds_numel = 12
    assert (engines.elements(here), engines.elements(elsewhere)) == (6, 12)
