"""Completions of GRPO by our decoding loop: TRL's own for the same random numbers, from fewer tokens."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl
import trl.trainer.utils
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from support import games
from support.games import PHRASES
from transformers import PrinterCallback

from ptspec.training.labels_alone import labels_alone
from ptspec.training.online import GRPOTrainer

PROMPTS = ["play", "play move", "hold then play"]
GENERATIONS = 8


def reward(completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@cache
def policy() -> Any:
    return games.policy_of(PHRASES, [0.4, 0.3, 0.2, 0.1], seed=0)


def model_of(kind: str) -> Any:
    base = copy.deepcopy(policy())
    if kind == "full":
        return base
    torch.manual_seed(1)
    return get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))


def trainer_of(made: type, kind: str, folder: Path, **config: Any) -> tuple[Any, list[tuple[int, int]]]:
    """A trainer, and the (rows, tokens) of each forward pass without gradients that it makes."""
    fields = {name: value for name, value in games.SETTINGS.items() if hasattr(trl.GRPOConfig, name)}
    fields |= {"max_completion_length": PHRASES.longest + 4, "max_steps": 2, "logging_steps": 1}
    fields |= {"per_device_train_batch_size": 24, "num_generations": GENERATIONS}
    fields |= {"beta": 0.1 if kind == "lora" else 0.0, **config}
    trainer = made(
        model_of(kind),
        reward,
        args=trl.GRPOConfig(output_dir=str(folder), **fields),
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=games.tokenizer_of(PHRASES.vocabulary),
    )
    trainer.remove_callback(PrinterCallback)
    read: list[tuple[int, int]] = []

    def seen(module: Any, args: Any, given: dict[str, Any]) -> None:
        if not torch.is_grad_enabled() and given.get("labels") is None:
            read.append(tuple(given["input_ids"].shape))

    inner = trainer.model.get_base_model() if kind != "full" else trainer.model
    inner.register_forward_pre_hook(seen, with_kwargs=True)
    return trainer, read


def drawing_by_rows(trainer: Any, patch: pytest.MonkeyPatch) -> None:
    """Has `generate()` draw with the numbers that our trainer has for each row."""
    rows, longest = 3 * GENERATIONS, PHRASES.longest + 4
    numbers: list[np.ndarray] = []
    generate = trainer._generate_single_turn

    def generated(*args: Any, **named: Any) -> Any:
        batch = (trainer.args.seed, trainer._step, 1, 0, 0)
        drawn = np.stack([np.random.default_rng((*batch, row)).random(longest) for row in range(rows)])
        numbers[:] = list(drawn.T)
        return generate(*args, **named)

    def multinomial(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        passed = probabilities.double().cumsum(-1) > torch.tensor(numbers.pop(0))[:, None]
        return passed.int().argmax(-1, keepdim=True)

    patch.setattr(trainer, "_generate_single_turn", generated)
    patch.setattr(torch, "multinomial", multinomial)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_same_numbers_give_the_completions_and_losses_of_trl_from_fewer_tokens(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    theirs, all_read = trainer_of(trl.GRPOTrainer, kind, tmp_path / "theirs")
    ours, read = trainer_of(GRPOTrainer, kind, tmp_path / "ours")
    scored: list[int] = []
    apply = trl.trainer.utils._ChunkedLogProbFunction.apply

    def counted(hidden: torch.Tensor, *more: Any) -> Any:
        scored.append(len(hidden))
        return apply(hidden, *more)

    monkeypatch.setattr(trl.trainer.utils._ChunkedLogProbFunction, "apply", counted)
    drawing_by_rows(theirs, monkeypatch)
    positions = []
    for trainer in (theirs, ours):
        torch.manual_seed(3)
        with labels_alone(trainer is ours):
            trainer.train()
        positions.append(sum(scored))
        scored.clear()
    assert list(ours._logs["completion"]) == list(theirs._logs["completion"])
    for name in ("loss", "kl", "entropy", "reward", "completions/mean_length"):
        if name == "kl" and kind == "full":
            continue
        found, wanted = (
            [log[name] for log in one.state.log_history if name in log] for one in (ours, theirs)
        )
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6), name
    assert positions[1] < positions[0], "the head scores prompts"
    lengths = {len(text.split()) for text in ours._logs["completion"]}
    assert len(lengths) > 1, "the rows end at different tokens, or the test shows nothing"
    assert all_read[0][0] == 3 * GENERATIONS
    assert read[0][0] == 3, "the completions of a prompt share its reading"
    rows = [count for count, tokens in read if tokens == 1]
    assert min(rows) < 3 * GENERATIONS, "rows that have ended are still in the batch"
    assert sum(count * tokens for count, tokens in read) < 0.7 * sum(a * b for a, b in all_read)


def test_what_samples_elsewhere_is_left_to_trl(tmp_path: Path):
    """A cache of another kind, and continuous batching."""
    trainer, read = trainer_of(GRPOTrainer, "full", tmp_path, cache_implementation="static")
    assert trainer._completions([[2, 3]], None, {}) is None
    trainer.generation_config.cache_implementation = None
    assert trainer._completions([[2, 3]], None, {"pixel_values": 1}) is None
    assert trainer._completions([[2, 3]], None, {}) is not None and read
    trainer.use_vllm = True
    assert trainer._completions([[2, 3]], None, {}) is None


def test_a_layer_is_as_it_was_whatever_happens(tmp_path: Path):
    trainer, _ = trainer_of(GRPOTrainer, "lora", tmp_path)
    layers = [module for module in trainer.model.modules() if hasattr(module, "lora_A")]
    trainer.generation_config.max_new_tokens = -1
    with pytest.raises(ValueError):
        trainer._completions([[2, 3]], None, {})
    assert layers and not any("forward" in vars(layer) for layer in layers)
    assert trainer.model.training
