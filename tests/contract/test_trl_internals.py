"""What we use of TRL below its documented surface: an upgrade that changes it fails here, by name."""

import inspect
from importlib.metadata import version
from pkgutil import resolve_name

import pytest
import trl.trainer.utils
from torch.utils.data import DataLoader
from transformers import Trainer
from trl import DistillationTrainer, DPOTrainer, GRPOTrainer, KTOTrainer, RLOOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import RepeatSampler, add_fused_lm_head, disable_dropout_in_model

from ptspec.methods import METHODS, get
from ptspec.methods.types import Head
from ptspec.training.data_order import catch_up
from ptspec.training.online import WITH_LOGPS

PARAMETERS = {
    "RLOOTrainer._calculate_rewards": (
        RLOOTrainer._calculate_rewards,
        ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    ),
    "RLOOTrainer._generate_and_score_completions": (
        RLOOTrainer._generate_and_score_completions,
        ["self", "inputs"],
    ),
    "RLOOTrainer._generate_single_turn": (
        RLOOTrainer._generate_single_turn,
        ["self", "prompt_ids", "images", "multimodal_fields"],
    ),
    "GRPOTrainer._generate_single_turn": (
        GRPOTrainer._generate_single_turn,
        ["self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"],
    ),
    "unwrap_model_for_generation": (
        unwrap_model_for_generation,
        [
            *("model", "accelerator", "gather_deepspeed3_params", "generation_kwargs"),
            "gradient_checkpointing_kwargs",
        ],
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


@pytest.mark.parametrize("trainer", [GRPOTrainer, RLOOTrainer])
def test_what_our_decoding_stands_in_for(trainer):
    """`ptspec.training.leaving_rows` does what this branch does."""
    source = inspect.getsource(trainer._generate_single_turn)
    branch = source[source.index("# Regular generation path") :]
    for piece in (
        "self.pad_to_multiple_of",
        "gather_deepspeed3_params=self.args.ds3_gather_for_generation",
        "self._dist.summon_full_params(self.model_wrapped, recurse=False)",
        "generation_config=self.generation_config",
        "self.eos_token_ids",
    ):
        assert piece in branch, piece


@pytest.mark.parametrize("trainer", [GRPOTrainer, RLOOTrainer])
def test_what_scores_completions(trainer):
    """`ptspec.training.prompts_read_once` stands in for it where nothing learns."""
    source = inspect.getsource(trainer._get_per_token_logps_and_entropies)
    first = list(inspect.signature(trainer._get_per_token_logps_and_entropies).parameters)[:5]
    assert first == ["self", "model", "input_ids", "attention_mask", "logits_to_keep"]
    assert "model(**model_inputs, labels=labels, fused_lm_head=True)" in source
    assert "labels[:, :-logits_to_keep] = -100" in source


def test_where_the_head_asks_which_positions_it_scores():
    """`ptspec.training.labels_alone` answers in its place: nothing else may ask by this name."""
    assert "compact = _use_triton(hidden_states.device)" in inspect.getsource(add_fused_lm_head)
    assert inspect.getsource(trl.trainer.utils).count("_use_triton(") == 1


def test_where_dpo_puts_the_head_on_a_model():
    """`ptspec.training.shared_prompts` stands between: by this name, before a reference is asked."""
    made = inspect.getsource(DPOTrainer.__init__)
    assert made.count("add_fused_lm_head(") == 2
    assert made.rindex("add_fused_lm_head(") < made.index("self._precompute_ref_logps(")
    for one in (DPOTrainer._compute_loss, DPOTrainer.compute_ref_log_probs):
        assert "model(**model_kwargs, labels=labels, fused_lm_head=True)" in inspect.getsource(one)
    head = inspect.getsource(add_fused_lm_head)
    assert "labels = shift_labels" in head
    assert "model.forward = types.MethodType(_fused_forward, model)" in head


@pytest.mark.parametrize("name", METHODS)
def test_which_methods_have_the_fused_head(name):
    classes = resolve_name(get(name).trainer).__mro__
    theirs = {inspect.getmodule(one) for one in classes if one.__module__.startswith("trl.")}
    assert (get(name).loss.head is Head.TILES) == any(
        "add_fused_lm_head(" in inspect.getsource(one) for one in theirs
    )


def test_who_takes_a_reference_model():
    takers = {
        trainer.__name__: "ref_model" in inspect.signature(trainer).parameters
        for trainer in (DPOTrainer, KTOTrainer, GRPOTrainer, RLOOTrainer)
    }
    assert takers == {"DPOTrainer": True, "KTOTrainer": True, "GRPOTrainer": False, "RLOOTrainer": False}


def test_the_reference_of_an_adapter_that_is_trained_on_is_a_copy_called_ref():
    """`ptspec.training.start_checks` looks for it by this name."""
    for trainer in (DPOTrainer, KTOTrainer, GRPOTrainer, RLOOTrainer):
        assert 'add_adapter("ref"' in inspect.getsource(trainer.__init__), trainer.__name__


@pytest.mark.parametrize("trainer", [GRPOTrainer, RLOOTrainer])
def test_half_used_completions_are_kept_where_we_look_for_them(trainer):
    """`ptspec.training.resume_online` saves them and puts them back."""
    source = inspect.getsource(trainer._prepare_inputs)
    assert "generate_every = self.args.steps_per_generation * self.num_iterations" in source
    assert "if self._step % generate_every == 0 or self._buffered_inputs is None" in source
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in source
    assert "self._step += 1" in inspect.getsource(trainer.training_step)


def test_a_distillation_batch_is_used_up_in_one_optimizer_step():
    """`ptspec.training.generation_batch`: it has no field that says otherwise."""
    source = inspect.getsource(DistillationTrainer._prepare_inputs)
    assert "generate_every = self.args.gradient_accumulation_steps" in source
    assert "if self._step % generate_every == 0 or self._buffered_inputs is None" in source
    assert "self._step += 1" in inspect.getsource(DistillationTrainer.training_step)


def test_who_gives_log_probabilities_beside_the_tokens():
    """`ptspec.training.online` gives back what each expects."""
    pairs = {
        trainer.__name__: "completion_ids, logprobs" in inspect.getsource(trainer._generate_single_turn)
        for trainer in (GRPOTrainer, RLOOTrainer, DistillationTrainer)
    }
    assert {name for name, gives in pairs.items() if gives} == set(WITH_LOGPS)


def test_a_teacher_is_an_argument_and_only_the_sizes_of_vocabularies_are_compared():
    """`ptspec.checks.teacher` compares the tokens."""
    source = inspect.getsource(DistillationTrainer.__init__)
    assert "teacher_model" in inspect.signature(DistillationTrainer).parameters
    assert "student_vocab_size != teacher_vocab_size" in source
    assert (
        "self.teacher_model = self.accelerator.prepare_model(teacher_model, evaluation_mode=True)" in source
    )


def test_orpo_and_cpo_make_tokens_alike():
    """`ptspec.data.tokens.pair_texts` is for both."""
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    cpo, orpo = (inspect.getsource(one.build_tokenized_answer) for one in (CPOTrainer, ORPOTrainer))
    assert cpo == orpo


def test_prompts_are_shuffled_by_a_generator_that_goes_on_from_epoch_to_epoch():
    """`catch_up` draws from it what the epochs before a resumed one have drawn."""
    sampler = RepeatSampler(range(7), mini_repeat_count=1, batch_size=1, seed=3)
    first, second = list(sampler), list(sampler)
    assert first != second
    again = RepeatSampler(range(7), mini_repeat_count=1, batch_size=1, seed=3)
    catch_up(DataLoader(range(7), sampler=again), 1)
    assert list(again) == second


def test_what_is_hooked_into_in_the_trainer_of_transformers():
    """`checkpoint_callback` moves checkpoints, `nonfinite_guard` hears losses and gradients."""
    save = inspect.getsource(Trainer._save_checkpoint)
    assert "run_dir = self._get_output_dir(trial=trial)" in save
    epoch = inspect.getsource(Trainer._run_epoch)
    hooks = ("self.training_step(", "self._get_grad_norm(", "on_pre_optimizer_step(", "self.optimizer.step()")
    assert [epoch.index(hook) for hook in hooks] == sorted(epoch.index(hook) for hook in hooks)
    assert "self.accelerator.backward(loss, **kwargs)" in inspect.getsource(Trainer.training_step)
    assert "self._save_checkpoint(" in inspect.getsource(Trainer._maybe_log_save_evaluate)


def test_one_minor_version_of_trl_is_tested():
    assert version("trl").startswith("1.16.")
