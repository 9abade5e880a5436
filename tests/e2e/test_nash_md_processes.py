"""Nash-MD in two processes: groups split over both, one policy in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.small import two_ranks


@pytest.mark.slow
def test_two_processes_train_one_policy(tmp_path: Path):
    """Rows 0-3 of each group of 8 are the first process's, 4-7 the second's; rewards meet in the gather.
    Forks of a process that has torch: what starts them has no part in that."""
    for process in two_ranks(tmp_path, main=train):
        assert process.wait(300) == 0, process.told
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first["weights"].keys() == second["weights"].keys()
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    assert first["groups"] == second["groups"] == [[0, 1, 2, 3]]
    assert first["opponents"] != second["opponents"] or first["completions"] != second["completions"]
    assert all(0 < rate < 1 for rate in first["win_rates"])


def train(arguments: Sequence[str]) -> None:
    from support import games

    folder = Path(arguments[0])
    torch.set_num_threads(1)
    asked: list[tuple[list[str], list[str]]] = []
    judge = games.judge_of(games.RPS)

    def recorded(prompts: list[str], a: list[str], b: list[str]) -> list[float]:
        asked.append((list(a), list(b)))
        return judge(prompts, a, b)

    games.judge_of = lambda game: recorded
    policy = games.policy_of(games.RPS, [0.4, 0.3, 0.3], seed=0)
    trainer = games.trainer_for(
        games.RPS,
        policy,
        folder / "checkpoints",
        per_device_train_batch_size=4,
        num_generations=8,
        num_opponents=4,
        max_steps=6,
        logging_steps=1,
        probe_steps=3,
    )
    trainer.train()
    model = trainer.accelerator.unwrap_model(trainer.model)
    rank = trainer.accelerator.process_index
    torch.save(
        {
            "weights": {name: value.detach() for name, value in model.named_parameters() if "lora" in name},
            "groups": [list(group) for group in trainer.groups],
            "completions": [a for a, _ in asked],
            "opponents": [b for _, b in asked],
            "win_rates": [
                log["win_rate/mixture"] for log in trainer.state.log_history if "win_rate/mixture" in log
            ],
        },
        folder / f"{rank}.pt",
    )
