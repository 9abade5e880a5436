"""The renaming that would make a file's columns those of a layout."""

from __future__ import annotations

import pytest

from ptspec.data.column_names import ALIASES, rename_hint, renaming
from ptspec.data.layouts.table import LAYOUTS, layout_for
from ptspec.methods.types import Rows

SFT, PAIRS, LABELS, PROMPTS = (
    *(Rows.PROMPT_COMPLETION, Rows.PREFERENCE),
    *(Rows.UNPAIRED_PREFERENCE, Rows.PROMPT_ONLY),
)


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        ("question answer", SFT, {"prompt": "question", "completion": "answer"}),
        ("query response", SFT, {"prompt": "query", "completion": "response"}),
        ("problem solution", SFT, {"prompt": "problem", "completion": "solution"}),
        ("problem solution answer", SFT, {"prompt": "problem", "completion": "solution"}),
        ("prompt canonical_solution", SFT, {"completion": "canonical_solution"}),
        ("request response", SFT, {"prompt": "request", "completion": "response"}),
        ("Question Answer", SFT, {"prompt": "Question", "completion": "Answer"}),
        ("Prompt Completion", SFT, {"prompt": "Prompt", "completion": "Completion"}),
        ("instruction input response", SFT, {"output": "response"}),
        ("input output", SFT, {"prompt": "input", "completion": "output"}),
        ("dialogue", SFT, {"messages": "dialogue"}),
        ("conversation id", SFT, {"messages": "conversation"}),
        ("document", SFT, {"text": "document"}),
        ("prompt completion", SFT, {}),
        ("x y", SFT, None),
        ("question", SFT, None),
        ("query preferred worse", PAIRS, {"prompt": "query", "chosen": "preferred", "rejected": "worse"}),
        ("question chosen rejected", PAIRS, {}),
        ("question response", PAIRS, None),
        (
            "question response liked",
            LABELS,
            {"prompt": "question", "completion": "response", "label": "liked"},
        ),
        ("question response score", LABELS, None),
        ("problem answer", PROMPTS, {"prompt": "problem"}),
        ("", PROMPTS, None),
    ],
)
def test_the_renaming_of_columns(columns, rows, expected):
    assert renaming(frozenset(columns.split()), rows) == expected


@pytest.mark.parametrize("rows", Rows)
def test_what_is_proposed_works(rows):
    names = [*ALIASES, *(alias for others in ALIASES.values() for alias in others)]
    for first in names:
        for second in names:
            present = frozenset((first, second))
            if columns := renaming(present, rows):
                assert set(columns.values()) <= present
                assert not columns.keys() & present
                assert layout_for(rows, (present - {*columns.values()}) | columns.keys())


def test_aliases_are_of_columns_that_some_layout_has():
    known = {column for shapes in LAYOUTS.values() for shape in shapes for column in shape.columns}
    assert ALIASES.keys() <= known


def test_the_hint_is_what_to_write():
    hint = rename_hint(frozenset(("question", "answer")), SFT)
    assert hint == 'rename with "columns": {"prompt": "question", "completion": "answer"}'
    assert rename_hint(frozenset("x"), SFT) is None
    assert rename_hint(frozenset(("text",)), SFT) is None
