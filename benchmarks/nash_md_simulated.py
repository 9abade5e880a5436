"""Which settings let Nash-MD end at the fixed point, simulated in numpy.

Exact policies, Adam and the sampling noise of training. Fast enough to try many settings;
`nash_md_defaults.py` measures the chosen ones with the trainer.

    python benchmarks/nash_md_simulated.py       # about two minutes of one core

A policy is a softmax of the log-reference plus a random linear map of 64 weights. Its rate says how far a
step moves the logits; how far one of a real model does depends on the model, so there are three, a factor of
ten from end to end. Each cell: 3 games × 2 or 3 starts × 3 seeds, 300 steps, 64 completions in groups of 8.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch  # noqa: E402
from support import games  # noqa: E402
from support.games import COEF, RPS, STAKES, TAU, Game  # noqa: E402

Array = npt.NDArray[np.float64]
RATES = (0.01, 0.03, 0.1)
SEEDS = range(3)
BOUND = 0.08
FOUR = Game("winds", ("n", "e", "s", "w"), games.WINDS.preference, games.WINDS.equilibrium)


@dataclass(frozen=True)
class Settings:
    rate: float = 0.01
    beta1: float = 0.0
    beta2: float = 0.999
    schedule: str = "linear"
    opponents: int = 4
    max_grad_norm: float = 1.0
    normalize_advantages: bool = False
    warmup_steps: int = 0


VARIANTS = {
    "momentum .9 (TRL)": Settings(beta1=0.9),
    "momentum .5": Settings(beta1=0.5),
    "momentum 0 (chosen)": Settings(),
    "… constant rate": Settings(schedule="constant"),
    "… cosine": Settings(schedule="cosine"),
    "… 8 opponents": Settings(opponents=8),
    "… beta2 .99": Settings(beta2=0.99),
    "… beta2 .95": Settings(beta2=0.95),
    "… normalised advantages": Settings(normalize_advantages=True),
    "… max_grad_norm .1": Settings(max_grad_norm=0.1),
    "… 30 steps of warm-up": Settings(warmup_steps=30),
}
STEPS, BATCH, GROUP, WEIGHTS = 300, 64, 8, 64


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max())
    shares: Array = weights / weights.sum()
    return shares


def played(preference: Array, reference: Array, settings: Settings, seed: int) -> Array:
    """The policy after training from `reference`."""
    random = np.random.default_rng(seed)
    shape = random.normal(size=(len(reference), WEIGHTS)) / np.sqrt(WEIGHTS)
    weights, first, second = np.zeros(WEIGHTS), np.zeros(WEIGHTS), np.zeros(WEIGHTS)
    for step in range(STEPS):
        logits = np.log(reference) + shape @ weights
        gradient = -shape.T @ policy_gradient(preference, reference, logits, settings, random)
        norm = float(np.linalg.norm(gradient))
        gradient *= min(1.0, settings.max_grad_norm / max(norm, 1e-12))
        first = settings.beta1 * first + (1 - settings.beta1) * gradient
        second = settings.beta2 * second + (1 - settings.beta2) * gradient**2
        mean = first / (1 - settings.beta1 ** (step + 1))
        spread = np.sqrt(second / (1 - settings.beta2 ** (step + 1))) + 1e-8
        weights -= settings.rate * scheduled(settings, step) * mean / spread
    return softmax(np.log(reference) + shape @ weights)


def policy_gradient(
    preference: Array, reference: Array, logits: Array, settings: Settings, random: np.random.Generator
) -> Array:
    """RLOO's estimate over the logits: P against the mixture less τ·log(π/μ), leave-one-out baseline."""
    policy = softmax(logits)
    opponent = softmax((1 - COEF) * logits + COEF * np.log(reference))
    own = random.choice(len(policy), size=(BATCH // GROUP, GROUP), p=policy)
    other = random.choice(len(policy), size=(BATCH // GROUP, settings.opponents), p=opponent)
    wins = preference[own[:, :, None], other[:, None, :]].mean(2)
    rewards = wins - TAU * np.log(policy / reference)[own]
    advantages = (rewards - rewards.mean(1, keepdims=True)) * GROUP / (GROUP - 1)
    if settings.normalize_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-4)
    total = np.zeros(len(policy))
    np.add.at(total, own.ravel(), advantages.ravel())
    gradient: Array = (total - policy * advantages.sum()) / BATCH
    return gradient


def scheduled(settings: Settings, step: int) -> float:
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    shares = {"linear": 1 - step / STEPS, "cosine": 0.5 + 0.5 * np.cos(np.pi * step / STEPS), "constant": 1.0}
    return float(shares[settings.schedule])


def distances(settings: Settings) -> Iterator[float]:
    """The largest difference of an answer's probability from the fixed point, of each run."""
    for game in (RPS, STAKES, FOUR):
        for start in games.starts(game).values():
            reference = torch.tensor(start, dtype=torch.double)
            reference /= reference.sum()
            target = games.fixed_point(game, reference, TAU, COEF).numpy()
            for seed in SEEDS:
                end = played(game.preference.numpy(), reference.numpy(), settings, seed)
                yield float(np.abs(end - target).max())


def main() -> None:
    heads = [f"rate {rate}: mean, worst, above {BOUND}" for rate in RATES]
    print("| settings | " + " | ".join(heads) + " |\n|---|" + "---|" * len(RATES))
    for name, settings in VARIANTS.items():
        cells = []
        for rate in RATES:
            found = np.array(list(distances(replace(settings, rate=rate))))
            above = int((found > BOUND).sum())
            cells.append(f"{found.mean():.3f}, {found.max():.3f}, {above} of {len(found)}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
