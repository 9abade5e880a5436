"""Expected screens are whole texts in expected/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def expected() -> Callable[[str], str]:
    def read(name: str) -> str:
        return (Path(__file__).parent / "expected" / f"{name}.txt").read_text(encoding="utf-8")

    return read
