"""Nash-MD against games whose fixed points are solved exactly: it arrives there, from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import games
from support.games import COEF, GAMES, PHRASES, RPS, STAKES, TAU, Game

SHORT = {"per_device_train_batch_size": 128, "max_steps": 120, "learning_rate": 1.5e-3}
"""Half of the completions a step, and fewer and longer steps: as near to a fixed point as the tests ask."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_solver_finds_the_known_equilibrium_as_regularisation_goes(game: Game):
    uniform = torch.full((len(game.answers),), 1 / len(game.answers), dtype=torch.double)
    solved = [games.fixed_point(game, uniform, tau, coef=0.0) for tau in (0.1, 0.05, 0.02)]
    known = torch.tensor(game.equilibrium, dtype=torch.double)
    distances = [games.total_variation(policy, known) for policy in solved]
    assert distances == sorted(distances, reverse=True) or game is RPS
    assert distances[-1] < 0.03


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_fixed_point_goes_to_the_regularised_equilibrium_as_the_mixture_goes(game: Game):
    reference = torch.tensor([0.8, 0.1, 0.1, 0.1][: len(game.answers)], dtype=torch.double)
    reference /= reference.sum()
    equilibrium = games.fixed_point(game, reference, TAU, coef=0.0)
    assert games.exploitability(game, equilibrium, reference, TAU) == pytest.approx(0, abs=1e-8)
    away = [games.fixed_point(game, reference, TAU, coef) for coef in (0.5, 0.25, 0.125, 0.03)]
    distances = [games.total_variation(policy, equilibrium) for policy in away]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.03 > 0.02 > distances[-1]
    assert all(games.exploitability(game, policy, reference, TAU) > 1e-5 for policy in away)


@pytest.mark.slow
def test_training_ends_at_the_fixed_point(tmp_path: Path):
    """Answers of one token and of several, two of which begin alike; `benchmarks/games_from_anywhere.py` has
    every game from every favourite, the other tests have a game of single moves."""
    before, after = games.distances(PHRASES, 2, tmp_path, **SHORT)
    assert before > 0.2
    assert after < 0.05


@pytest.mark.slow
def test_training_ends_there_from_a_policy_that_is_not_the_reference(tmp_path: Path):
    """Full fine-tuning: the policy starts at 10/80/10, its reference, a second model, at 80/10/10."""
    reference_model = games.policy_of(STAKES, [0.8, 0.1, 0.1], seed=0)
    policy = games.policy_of(STAKES, [0.1, 0.8, 0.1], seed=1)
    target = games.fixed_point(STAKES, games.distribution(reference_model, STAKES), TAU, COEF)
    trained = games.play(STAKES, policy, tmp_path, reference=reference_model, seed=1, **SHORT)
    assert games.total_variation(games.distribution(trained, STAKES), target) < 0.05


@pytest.mark.slow
def test_a_small_mixture_trains_to_the_regularised_equilibrium_and_a_large_one_elsewhere(tmp_path: Path):
    ends = []
    for coef in (0.0, 0.5):
        policy = games.policy_of(STAKES, [0.8, 0.1, 0.1], seed=0)
        equilibrium = games.fixed_point(STAKES, games.distribution(policy, STAKES), TAU, coef=0.0)
        trained = games.play(STAKES, policy, tmp_path, mixture_coef=coef, seed=0, **SHORT)
        ends.append(games.total_variation(games.distribution(trained, STAKES), equilibrium))
    assert ends[0] < 0.05 < 0.1 < ends[1]
