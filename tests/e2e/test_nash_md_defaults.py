"""Nash-MD as a recipe gets it: its own defaults, which are told, end at the fixed point, and a policy that
runs away is told while it trains."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from support import games
from support.games import COEF, MOVES, TAU, Game
from support.small import Ran, run_here

from ptspec.events import StageDefault, StageStep, Warned
from ptspec.methods.nash_md import METHOD

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

WITHIN = 0.08


JUDGE = """
TABLE, ROWS = {table}, {rows}

def judge(prompts, a, b):
    return [wins(ROWS.get(left), ROWS.get(right)) for left, right in zip(a, b)]

def wins(left, right):
    if left is None or right is None:
        return 0.5 + 0.5 * ((left is not None) - (right is not None))
    return TABLE[left][right]

def likes_the_last(completions, **columns):
    return [float(completion == list(ROWS)[-1]) for completion in completions]
"""


def run_game(folder: Path, game: Game, policy: Any, stage: dict[str, Any], **config: Any) -> Ran:
    """One stage on the game, over `policy` saved as a base model, by a recipe."""
    policy.save_pretrained(folder / "base")
    games.tokenizer_of(game.vocabulary).save_pretrained(folder / "base")
    (folder / "rows.jsonl").write_text(f'{{"prompt": "{games.PROMPT}"}}\n' * 256)
    rows = {answer: row for row, answer in enumerate(game.answers)}
    (folder / "game.py").write_text(JUDGE.format(table=game.preference.tolist(), rows=rows))
    given = {
        "learning_rate": 5e-4,
        "per_device_train_batch_size": 64,
        "beta": TAU,
        "max_steps": 300,
        "max_completion_length": game.longest + 1,
        **config,
    }
    recipe = {
        "version": 1,
        "name": "game",
        "seed": 0,
        "model": {"path": str(folder / "base")},
        "adapter": {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
        "data": {"train": {"path": str(folder / "rows.jsonl")}},
        "judges": {"game": {"function": f"{folder / 'game.py'}:judge"}},
        "rewards": {"last": {"function": f"{folder / 'game.py'}:likes_the_last"}},
        "stages": [{"name": "play", "data": "train", "config": given, **stage}],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    ran = run_here(folder / "recipe.json", folder / "out")
    assert ran.error is None, ran.error
    return ran


def end_of(ran: Ran, game: Game, policy: Any) -> torch.Tensor:
    trained = PeftModel.from_pretrained(copy.deepcopy(policy), str(ran.output / "play"))
    return games.distribution(trained.eval(), game)


@cache
def start(kind: str) -> Any:
    return games.policy_of(MOVES, games.starts(MOVES)[kind], seed=0)


def runaways(ran: Ran) -> list[str]:
    return [event.text for event in ran.events if isinstance(event, Warned) and "nats a token" in event.text]


NASH_MD = {"method": "nash_md", "judge": "game"}


def test_the_defaults_end_at_the_fixed_point_and_are_reported(tmp_path: Path):
    """From the farthest of the starts; `benchmarks/nash_md_defaults.py` has every game, start and seed."""
    policy = start("one answer")
    target = games.fixed_point(MOVES, games.distribution(policy, MOVES), TAU, COEF)
    ran = run_game(tmp_path, MOVES, policy, NASH_MD)
    assert (end_of(ran, MOVES, policy) - target).abs().max() <= WITHIN
    assert not runaways(ran)
    told = [event.text for event in ran.events if isinstance(event, StageDefault)]
    assert [text.split(":")[0] for text in told] == ["num_generations 8 (TRL", "adam_beta1 0.0 (TRL"]
    assert all(default.reason in text for default, text in zip(METHOD.own_defaults, told, strict=True))


def test_a_collapse_is_reported_once_while_it_trains(tmp_path: Path):
    policy = start("sft")
    ran = run_game(tmp_path, MOVES, policy, NASH_MD, adam_beta1=0.9, learning_rate=1e-2, max_steps=30)
    assert end_of(ran, MOVES, policy).max() > 0.95
    (told,) = runaways(ran)
    assert (
        "entropy fell to" in told and "adam_beta1 0 (now 0.9)" in told and "learning_rate (now 0.01)" in told
    )
    said = next(n for n, event in enumerate(ran.events) if isinstance(event, Warned) and event.text == told)
    assert any(isinstance(event, StageStep) for event in ran.events[said:])


def test_a_policy_that_leaves_its_reference_is_reported(tmp_path: Path):
    policy = start("sft")
    ran = run_game(tmp_path, MOVES, policy, NASH_MD, learning_rate=0.2, max_steps=25)
    assert any("KL to the reference is" in text for text in runaways(ran))


def test_grpo_that_ends_on_one_answer_is_reported(tmp_path: Path):
    policy = start("sft")
    stage = {"method": "grpo", "rewards": ["last"]}
    ran = run_game(
        tmp_path, MOVES, policy, stage, beta=0.0, num_generations=8, learning_rate=5e-3, max_steps=20
    )
    (told,) = runaways(ran)
    assert "entropy fell to" in told and "adam_beta1" not in told
