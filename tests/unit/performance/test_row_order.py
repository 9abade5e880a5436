"""Rows sorted within a step: the rows of each step are those of the random draw."""

from __future__ import annotations

from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset

from ptspec.training.row_order import ByLength, row_lengths

LENGTHS = [number * 7 % 23 for number in range(22)]


def drawn(epoch: int) -> list[int]:
    sampler = SeedableRandomSampler(range(22), data_seed=5)
    sampler.set_epoch(epoch)
    return list(sampler)


def ordered(epoch: int) -> list[int]:
    sampler = ByLength(SeedableRandomSampler(range(22), data_seed=5), LENGTHS, step=8)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_each_step_has_its_rows_the_longest_first():
    for epoch in (0, 1):
        ours, theirs = ordered(epoch), drawn(epoch)
        for at in (0, 8):
            assert sorted(ours[at : at + 8]) == sorted(theirs[at : at + 8])
            lengths = [LENGTHS[row] for row in ours[at : at + 8]]
            assert lengths == sorted(lengths, reverse=True)
    assert ordered(0) != ordered(1)


def test_the_rows_that_are_left_keep_their_order():
    assert ordered(0)[16:] == drawn(0)[16:]
    left = [LENGTHS[row] for row in drawn(0)[16:]]
    assert left != sorted(left, reverse=True), "the draw happens to be sorted: take another seed"


def test_lengths_are_those_that_a_pass_is_padded_to():
    whole = Dataset.from_dict({"input_ids": [[1], [1, 2, 3]], "labels": [[1], [1, 2, 3]]})
    assert row_lengths(whole, None) == [1, 3]
    assert row_lengths(whole, 2) == [1, 2]
    pair = Dataset.from_dict({"prompt_ids": [[1, 2]], "chosen_ids": [[3]], "rejected_ids": [[4, 5, 6]]})
    assert row_lengths(pair, None) == [5]
    both = Dataset.from_dict({"chosen_ids": [[3], [1]], "rejected_ids": [[4, 5], [6]]})
    assert row_lengths(both.select([1, 0]), None) == [1, 2]
