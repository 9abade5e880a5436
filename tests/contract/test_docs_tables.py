"""What is added to a table of the product stands in the guide's table of the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ptspec.data.layouts.table import LAYOUTS
from ptspec.metrics import METRICS, RAW_METRICS
from ptspec.rewards.builtin import BUILTIN
from ptspec.rewards.trl_rewards import TRL

DOCS = Path(__file__).parents[2] / "docs"


def first_cells(page: str) -> set[str]:
    """The names in the first cells of the tables on a page."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("page", "names"),
    [("evaluation.md", {*METRICS, *RAW_METRICS}), ("rewards.md", {*BUILTIN, *TRL})],
)
def test_each_metric_and_reward_has_a_row(page, names):
    assert names - first_cells(page) == set()


def test_each_layout_that_messages_list_has_an_example():
    """An example is a row in a block: its keys are the layout's columns, others beside them."""
    text = (DOCS / "data.md").read_text("utf-8")
    rows = [set(re.findall(r'"(\w+)":', block)) for block in re.findall(r"\n```\n(.*?)→", text, re.DOTALL)]
    listed = {layout.columns for of in LAYOUTS.values() for layout in of if layout.is_listed}
    assert {columns for columns in listed if not any(set(columns) <= row for row in rows)} == set()
