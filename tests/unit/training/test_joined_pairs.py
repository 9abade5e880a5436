"""Pairs as one sequence: what stands where, who sees whom, and each target's way back to its row."""

from __future__ import annotations

import torch

from ptspec.training.joined_pairs import IGNORED, joined

# Prompt 1 2 3 with answers 4 5 and 6; prompt 7 8 with answers 9 and 9 1 2 (alike in their first token).
IDS = torch.tensor([[1, 2, 3, 4, 5], [7, 8, 9, 0, 0], [1, 2, 3, 6, 0], [7, 8, 9, 1, 2]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
FIRST = torch.tensor([3, 2, 3, 2])
"""Of each row the first token with a label."""
LABELS = IDS.masked_fill((MASK == 0) | (torch.arange(5) < FIRST[:, None]), IGNORED)


def test_the_prompt_stands_once_but_for_its_last_token():
    found = joined(IDS, MASK, LABELS, least=1.0)
    assert found is not None
    assert found.ids[0].tolist() == [1, 2, 3, 4, 5, 3, 6]
    assert found.positions[0].tolist() == [0, 1, 2, 3, 4, 2, 3]
    assert found.ids[1].tolist() == [7, 8, 9, 8, 9, 1, 2]
    assert found.positions[1].tolist() == [0, 1, 2, 1, 2, 3, 4]
    assert found.targets.tolist() == [
        [-100, -100, 4, 5, -100, 6, -100],
        [-100, 9, -100, 9, 1, 2, -100],
    ]


def test_an_answer_sees_its_prompt_and_itself():
    found = joined(IDS, MASK, LABELS, least=1.0)
    seen = [row.nonzero().flatten().tolist() for row in found.mask[0, 0]]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 5], [0, 1, 5, 6]]


def test_each_value_goes_back_to_the_row_of_its_target():
    found = joined(IDS, MASK, LABELS, least=1.0)
    back = found.parted(found.targets)
    assert back.tolist() == LABELS[:, 1:].masked_fill(LABELS[:, 1:] == IGNORED, 0).tolist()


def test_rows_with_nothing_in_common_and_rows_without_a_label():
    ids = torch.tensor([[1, 2], [3, 4]])
    found = joined(ids, torch.ones_like(ids), torch.tensor([[1, 2], [-100, -100]]), least=0.0)
    assert found.ids.tolist() == [[1, 2, 3, 4]]
    assert found.parted(found.targets).tolist() == [[2], [0]]


def test_not_where_little_is_spared_nor_of_other_rows():
    assert joined(IDS, MASK, LABELS, least=1.5) is None
    assert joined(IDS[:3], MASK[:3], LABELS[:3], least=0.0) is None
    assert joined(IDS, MASK.flip(1), LABELS, least=0.0) is None, "padded on the left"
