"""What we use of TRL below its documented surface: an upgrade that changes it fails here, by name."""

import inspect
from importlib.metadata import version

import pytest
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

PARAMETERS = {
    "RLOOTrainer._calculate_rewards": (
        RLOOTrainer._calculate_rewards,
        ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    ),
    "RLOOTrainer._generate_and_score_completions": (
        RLOOTrainer._generate_and_score_completions,
        ["self", "inputs"],
    ),
    "add_fused_lm_head": (
        add_fused_lm_head,
        ["model", "temperature", "cast_lm_head_to_fp32", "outputs"],
    ),
    "disable_dropout_in_model": (disable_dropout_in_model, ["model"]),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_we_call_with(name):
    function, parameters = PARAMETERS[name]
    assert list(inspect.signature(function).parameters) == parameters


def test_the_methods_that_nash_md_overrides_are_there():
    for name in ("_calculate_rewards", "_generate_single_turn", "_generate_and_score_completions"):
        assert callable(getattr(RLOOTrainer, name)), name


def test_who_takes_a_reference_model():
    takers = {
        trainer.__name__: "ref_model" in inspect.signature(trainer).parameters
        for trainer in (DPOTrainer, KTOTrainer, GRPOTrainer, RLOOTrainer)
    }
    assert takers == {"DPOTrainer": True, "KTOTrainer": True, "GRPOTrainer": False, "RLOOTrainer": False}


def test_the_reference_of_an_adapter_that_is_trained_on_is_a_copy_called_ref():
    """`ptspec.training.begin` looks for it by this name."""
    for trainer in (DPOTrainer, KTOTrainer, GRPOTrainer, RLOOTrainer):
        assert 'add_adapter("ref"' in inspect.getsource(trainer.__init__), trainer.__name__


def test_one_minor_version_of_trl_is_tested():
    assert version("trl").startswith("1.16.")
