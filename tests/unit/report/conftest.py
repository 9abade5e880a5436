"""Expected screens are whole texts in expected/. PT_UPDATE_EXPECTED=1 writes them anew: read the diff."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from a_run import FOLDER


@pytest.fixture
def expected() -> Callable[[str, str], str]:
    """The expected text of a name; with what the program says now, to be written where that is asked for."""

    def read(name: str, now: str) -> str:
        path = FOLDER / f"{name}.txt"
        if os.environ.get("PT_UPDATE_EXPECTED"):
            path.write_text(now, encoding="utf-8")
        return path.read_text(encoding="utf-8")

    return read
