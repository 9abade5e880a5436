"""The rewards of benchmarks/real_model.json: what a sound step is, and which of two answers is preferred."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "benchmarks/real_model_rewards.py"
QUESTION = "Ann has 48 pens and loses 8. How many has she left?"


@pytest.fixture(scope="module")
def rewards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_model_rewards", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("48 - 8 = 40\n#### 40", 1.0),
        ("48 - 8 = 40\n40 / 2 = 21\n#### 21", 0.5),  # the second does not hold
        ("48 - 8 = 40\n40 / 3 = 13.33\n#### 13.33", 1.0),  # rounded, and on a number that was found
        ("1 * 1 = 1\n#### 1", 0.0),  # holds, on numbers from nowhere
        ("48 = 48\n#### 48", 0.0),  # nothing is worked out
        ("48 - 8 = 40", 0.0),  # no final line
        ("48 - 8 = 40\n#### 40\n#### 40", 0.0),
        ("48 / 0 = 0\n#### 0", 0.0),
        ("48 ** 99999 = 1\n#### 1", 0.0),
        ("She has 40 left.\n#### 40", 0.0),
        ("", 0.0),
    ],
)
def test_the_share_of_sound_steps(rewards: ModuleType, answer: str, share: float) -> None:
    assert rewards.sound([QUESTION], [answer]) == [share]
    assert rewards.sound([[{"role": "user", "content": QUESTION}]], [answer]) == [share]


def test_soundness_comes_before_brevity(rewards: ModuleType) -> None:
    long, short, wrong = "48 - 8 = 40\n40 * 1 = 40\n#### 40", "48 - 8 = 40\n#### 40", "8\n#### 8"
    a, b = [long, short, wrong, short], [short, wrong, long, short]
    assert rewards.briefer([QUESTION] * 4, a, b) == [0.0, 1.0, 0.0, 0.5]
    assert rewards.briefer([QUESTION] * 4, b, a) == [1.0, 0.0, 1.0, 0.5]
