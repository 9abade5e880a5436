"""Nash-MD, GRPO with a Bradley-Terry reward, and DPO on cyclic games.

Draws docs/images/nash_md_games.png.

    python benchmarks/nash_md_games.py        # two games, three methods; a few minutes on one core

Every method starts from the same policy (80/10/10), with β = .1, 200 steps, the same batch and rate. GRPO
gets the rewards that fit the game's preferences best by Bradley-Terry, on pairs the start would show; DPO
gets such pairs.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from matplotlib import pyplot  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from support import games  # noqa: E402
from support.games import COEF, RPS, SETTINGS, STAKES, TAU, Game  # noqa: E402
from transformers import PrinterCallback, TrainerCallback  # noqa: E402

IMAGE = ROOT / "docs/images/nash_md_games.png"
CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.double)
COLOURS = {"Nash-MD": "#0072b2", "GRPO, Bradley-Terry reward": "#d55e00", "DPO": "#009e73"}
RLOO_ONLY = ("mixture_coef", "num_opponents", "probe_steps")
Trajectory = list[torch.Tensor]


class Watch(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """The policy's probabilities of the answers, every fourth step."""

    def __init__(self, game: Game, start: torch.Tensor) -> None:
        self.game = game
        self.path: Trajectory = [start]

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step % 4 == 0:
            model.eval()
            self.path.append(games.distribution(model, self.game))
            model.train()


def nash_md(game: Game, policy: Any, watch: Watch) -> None:
    games.play(game, policy, Path(tempfile.mkdtemp()), watch=watch, seed=0)


def grpo(game: Game, policy: Any, watch: Watch) -> None:
    from trl import GRPOConfig, GRPOTrainer

    scores = dict(zip(game.answers, bradley_terry(game, watch.path[0]).tolist(), strict=True))

    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        return [scores.get(completion, -10.0) for completion in completions]

    config = GRPOConfig(**settings(), max_completion_length=1)
    run(GRPOTrainer(policy, reward, args=config, train_dataset=prompts(), **parts(game, watch)))


def dpo(game: Game, policy: Any, watch: Watch) -> None:
    from trl import DPOConfig, DPOTrainer

    without = ("num_generations",)
    config = DPOConfig(**{name: value for name, value in settings().items() if name not in without})
    run(DPOTrainer(policy, args=config, train_dataset=pairs(game, watch.path[0]), **parts(game, watch)))


def settings() -> dict[str, Any]:
    shared = {name: value for name, value in SETTINGS.items() if name not in RLOO_ONLY}
    return {**shared, "output_dir": tempfile.mkdtemp(), "seed": 0}


def parts(game: Game, watch: Watch) -> dict[str, Any]:
    return {
        "processing_class": games.tokenizer_of(game.vocabulary),
        "peft_config": games.lora(),
        "callbacks": [watch],
    }


def run(trainer: Any) -> None:
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def prompts() -> Dataset:
    return Dataset.from_dict({"prompt": [games.PROMPT] * 256})


def pairs(game: Game, start: torch.Tensor) -> Dataset:
    """4096 pairs of different answers of the starting policy, the better chosen as often as the game says."""
    torch.manual_seed(0)
    rows: list[dict[str, str]] = []
    while len(rows) < 4096:
        i, j = torch.multinomial(start, 2, replacement=True).tolist()
        if i == j:
            continue
        if torch.rand(()) > game.preference[i, j]:
            i, j = j, i
        names = [f" {game.answers[row]}" for row in (i, j)]
        rows.append({"prompt": games.PROMPT, "chosen": names[0], "rejected": names[1]})
    return Dataset.from_list(rows)


def bradley_terry(game: Game, start: torch.Tensor) -> torch.Tensor:
    """r that maximises Σ_ij μ_i μ_j P_ij log σ(r_i − r_j), with a ridge of 1e-4: an ideal reward model."""
    rewards = torch.zeros(len(start), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([rewards], max_iter=500)
    weights = start[:, None] * start[None, :] * game.preference

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        margins = torch.nn.functional.logsigmoid(rewards[:, None] - rewards[None, :])
        value = -(weights * margins).sum() + 1e-4 * (rewards**2).sum()
        value.backward()
        return value

    optimizer.step(loss)
    return rewards.detach()


def exploitability(game: Game, policy: torch.Tensor) -> float:
    """max over answers of P(answer ≻ π) − 1/2, in the bare game."""
    return float((game.preference @ policy).max() - 0.5)


def draw(axes: Axes, game: Game, start: torch.Tensor, paths: dict[str, Trajectory]) -> None:
    triangle = CORNERS[[0, 1, 2, 0]]
    axes.plot(triangle[:, 0], triangle[:, 1], color="#999999", linewidth=1)
    places = (("right", "top"), ("left", "top"), ("center", "bottom"))
    for corner, answer, (across, along) in zip(CORNERS, game.answers, places, strict=True):
        offset = (0, 4) if along == "bottom" else (0, -8)
        axes.annotate(answer, corner, offset, textcoords="offset points", ha=across, va=along, fontsize=11)
    for name, path in paths.items():
        line = torch.stack(path) @ CORNERS
        axes.plot(line[:, 0], line[:, 1], color=COLOURS[name], linewidth=1.4, alpha=0.85, label=name)
        axes.plot(*line[-1], "o", color=COLOURS[name], markersize=11 if name.startswith("GRPO") else 6)
    target = games.fixed_point(game, start, TAU, COEF) @ CORNERS
    nash = games.fixed_point(game, start, TAU, 0.0) @ CORNERS
    axes.plot(*(start @ CORNERS), "s", color="black", markersize=6, label="start and reference")
    axes.plot(*target, "x", color="black", markersize=10, markeredgewidth=2, label="fixed point, c = .125")
    axes.plot(*nash, "+", color="#cc0000", markersize=11, markeredgewidth=2, label="regularised equilibrium")
    axes.set_title(game.name)
    axes.set_aspect("equal")
    axes.axis("off")


def main() -> None:
    torch.set_num_threads(1)
    figure, both = pyplot.subplots(1, 2, figsize=(11, 5.2))
    for axes, game in zip(both, (RPS, STAKES), strict=True):
        policy = games.policy_of(game, [0.8, 0.1, 0.1], seed=0)
        start = games.distribution(policy, game)
        paths: dict[str, Trajectory] = {}
        for name, train in zip(COLOURS, (nash_md, grpo, dpo), strict=True):
            watch = Watch(game, start)
            train(game, copy.deepcopy(policy), watch)
            paths[name] = watch.path
            end = watch.path[-1]
            shown = ", ".join(
                f"{answer} {share:.3f}" for answer, share in zip(game.answers, end, strict=True)
            )
            print(f"{game.name:20} {name:28} {shown}   can be beaten by {exploitability(game, end):.3f}")
        draw(axes, game, start, paths)
    figure.legend(*both[0].get_legend_handles_labels(), loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(IMAGE, dpi=110)


if __name__ == "__main__":
    main()
